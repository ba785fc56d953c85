-- Guards that 0002 lacked, for those who write to the database past the server.

SET LOCAL lock_timeout = '3s';

-- An empty table would hand out every fence again from 1.
CREATE FUNCTION locks_no_truncate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'locks are released, never truncated: the fence must outlive the holder'
        USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'locks_fence_guard';
END $$;
CREATE TRIGGER locks_no_truncate BEFORE TRUNCATE ON locks
    FOR EACH STATEMENT EXECUTE FUNCTION locks_no_truncate();

-- A stream that changed hands would let one service plan on another's history, with both chains intact.
CREATE FUNCTION audit_streams_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP IN ('DELETE', 'TRUNCATE') THEN
        RAISE EXCEPTION 'audit streams are never removed'
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'audit_streams_guard';
    END IF;
    IF NEW.id <> OLD.id OR NEW.environment_id <> OLD.environment_id OR NEW.service_id <> OLD.service_id
       OR NEW.head_seq < OLD.head_seq THEN
        RAISE EXCEPTION 'an audit stream keeps its environment and service, and its head never goes back'
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'audit_streams_guard';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER audit_streams_guard BEFORE UPDATE OR DELETE ON audit_streams
    FOR EACH ROW EXECUTE FUNCTION audit_streams_guard();
CREATE TRIGGER audit_streams_guard_truncate BEFORE TRUNCATE ON audit_streams
    FOR EACH STATEMENT EXECUTE FUNCTION audit_streams_guard();

-- As in 0003, and an entry must be of the stream's own environment and service.
CREATE OR REPLACE FUNCTION audit_verify(of_stream bigint)
RETURNS TABLE (broken_seq bigint, finding text) LANGUAGE plpgsql STABLE AS $$
DECLARE
    entry     audit_entries;
    last_seq  bigint := 0;
    last_hash bytea := decode(repeat('00', 32), 'hex');
    head      audit_streams;
BEGIN
    SELECT * INTO head FROM audit_streams s WHERE s.id = of_stream;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    FOR entry IN SELECT * FROM audit_entries a WHERE a.stream_id = of_stream ORDER BY a.seq LOOP
        IF entry.seq <> last_seq + 1 THEN
            RETURN QUERY SELECT last_seq + 1, format('entry %s is missing', last_seq + 1);
            RETURN;
        END IF;
        IF entry.environment_id <> head.environment_id OR entry.service_id <> head.service_id THEN
            RETURN QUERY SELECT entry.seq, format('entry %s belongs to another environment or service', entry.seq);
            RETURN;
        END IF;
        IF entry.prev_hash <> last_hash THEN
            RETURN QUERY SELECT entry.seq, format('entry %s does not follow from the one before it', entry.seq);
            RETURN;
        END IF;
        IF entry.hash <> sha256(entry.prev_hash || audit_canonical(entry)) THEN
            RETURN QUERY SELECT entry.seq, format('entry %s was altered: its hash does not fit its content', entry.seq);
            RETURN;
        END IF;
        last_seq := entry.seq;
        last_hash := entry.hash;
    END LOOP;
    IF head.head_seq <> last_seq OR head.head_hash <> last_hash THEN
        RETURN QUERY SELECT last_seq + 1,
            format('the stream should end with entry %s, but ends with %s', head.head_seq, last_seq);
    END IF;
END $$;
