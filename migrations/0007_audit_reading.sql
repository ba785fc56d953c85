-- Reading the audit at any size: indexes for the questions that people ask, the chain in stretches, signed checkpoints.

SET LOCAL lock_timeout = '3s';

-- What did this execution report? The index that makes a report once answers it as well when it begins with the
-- execution: the same columns in another order, so that an append writes no more than before. It keeps its name, which
-- binaries before this one read in errors.
CREATE UNIQUE INDEX IF NOT EXISTS audit_entries_execution_report_key
    ON audit_entries (stream_id, execution_ref, change_id, state) WHERE source IN ('RUNNER', 'IMPORT');
DROP INDEX audit_entries_report_key;
ALTER INDEX audit_entries_execution_report_key RENAME TO audit_entries_report_key;
-- The entries of an execution that are not its reports.
CREATE INDEX IF NOT EXISTS audit_entries_derived_idx
    ON audit_entries (stream_id, execution_ref, seq) WHERE source NOT IN ('RUNNER', 'IMPORT');
-- Whatever is not the daily STARTED and APPLIED: failures, what people decided, what came late. Few among many, and what
-- is looked for most; the daily append does not touch it. Everything else is searched in stretches, from page to page.
CREATE INDEX IF NOT EXISTS audit_entries_notable_idx
    ON audit_entries (stream_id, seq)
    WHERE late OR source NOT IN ('RUNNER', 'IMPORT') OR state NOT IN ('STARTED', 'APPLIED');

-- How many entries a stream had at a time: the last position received by then. Times go with positions, as far as the
-- database's clock does not go back; found by bisection, so that no index on times is needed.
CREATE FUNCTION audit_seq_at(of_stream bigint, at timestamptz) RETURNS bigint LANGUAGE plpgsql STABLE AS $$
DECLARE
    low    bigint := 0;
    high   bigint;
    middle bigint;
    found  timestamptz;
BEGIN
    SELECT s.head_seq INTO high FROM audit_streams s WHERE s.id = of_stream;
    high := coalesce(high, 0);
    WHILE low < high LOOP
        middle := (low + high + 1) / 2;
        SELECT a.received_at INTO found FROM audit_entries a WHERE a.stream_id = of_stream AND a.seq = middle;
        IF found IS NULL OR found > at THEN
            high := middle - 1;
        ELSE
            low := middle;
        END IF;
    END LOOP;
    RETURN low;
END $$;

-- A stretch of a stream's chain: from behind an entry that is trusted, at most so many entries. One row: how far it is
-- good, where the head stands, whether the end was reached, and the first break if there is one.
CREATE FUNCTION audit_verify_stretch(of_stream bigint, after_seq bigint, after_hash bytea, entries_max bigint)
RETURNS TABLE (verified_seq bigint, verified_hash bytea, head_seq bigint, head_hash bytea, complete boolean,
               broken_seq bigint, finding text) LANGUAGE plpgsql STABLE AS $$
DECLARE
    entry     audit_entries;
    last_seq  bigint := after_seq;
    last_hash bytea := after_hash;
    looked_at bigint := 0;
    head      audit_streams;
    broken    text;
BEGIN
    SELECT * INTO head FROM audit_streams s WHERE s.id = of_stream;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    FOR entry IN
        SELECT * FROM audit_entries a WHERE a.stream_id = of_stream AND a.seq > after_seq
         ORDER BY a.seq LIMIT entries_max
    LOOP
        IF entry.seq <> last_seq + 1 THEN
            broken := format('entry %s is missing', last_seq + 1);
        ELSIF entry.environment_id <> head.environment_id OR entry.service_id <> head.service_id THEN
            broken := format('entry %s belongs to another environment or service', entry.seq);
        ELSIF entry.prev_hash <> last_hash THEN
            broken := format('entry %s does not follow from the one before it', entry.seq);
        ELSIF entry.hash <> sha256(entry.prev_hash || audit_canonical(entry)) THEN
            broken := format('entry %s was altered: its hash does not fit its content', entry.seq);
        END IF;
        IF broken IS NOT NULL THEN
            RETURN QUERY SELECT last_seq, last_hash, head.head_seq, head.head_hash, true, last_seq + 1, broken;
            RETURN;
        END IF;
        looked_at := looked_at + 1;
        last_seq := entry.seq;
        last_hash := entry.hash;
    END LOOP;
    IF looked_at = entries_max AND last_seq <> head.head_seq THEN
        RETURN QUERY SELECT last_seq, last_hash, head.head_seq, head.head_hash, false, NULL::bigint, NULL::text;
    ELSIF last_seq <> head.head_seq THEN
        RETURN QUERY SELECT last_seq, last_hash, head.head_seq, head.head_hash, true,
            least(last_seq, head.head_seq) + 1,
            format('the stream should end with entry %s, but ends with %s', head.head_seq, last_seq);
    ELSIF last_hash <> head.head_hash THEN
        RETURN QUERY SELECT last_seq, last_hash, head.head_seq, head.head_hash, true, last_seq,
            format('entry %s is not the one that the head of the stream names', last_seq);
    ELSE
        RETURN QUERY SELECT last_seq, last_hash, head.head_seq, head.head_hash, true, NULL::bigint, NULL::text;
    END IF;
END $$;

-- Keys that sign checkpoints. A public key stays for ever, because what it signed does; the private one goes when its
-- successor takes over, or was never here.
CREATE TABLE checkpoint_keys (
    key_id         text        NOT NULL,
    public_key     bytea       NOT NULL,
    private_pkcs8  bytea,
    created_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT checkpoint_keys_pkey PRIMARY KEY (key_id),
    CONSTRAINT checkpoint_keys_public_key_check CHECK (octet_length(public_key) = 32)
);

-- Signed statements: at this time the entry at this position of the stream had this hash.
CREATE TABLE checkpoints (
    stream_id  bigint      NOT NULL,
    seq        bigint      NOT NULL,
    hash       bytea       NOT NULL,
    signed_at  timestamptz NOT NULL,
    key_id     text        NOT NULL,
    signature  bytea       NOT NULL,
    CONSTRAINT checkpoints_pkey PRIMARY KEY (stream_id, seq),
    CONSTRAINT checkpoints_stream_id_fkey FOREIGN KEY (stream_id) REFERENCES audit_streams (id),
    CONSTRAINT checkpoints_key_id_fkey FOREIGN KEY (key_id) REFERENCES checkpoint_keys (key_id),
    CONSTRAINT checkpoints_seq_check CHECK (seq > 0),
    CONSTRAINT checkpoints_hash_check CHECK (octet_length(hash) = 32),
    CONSTRAINT checkpoints_signature_check CHECK (octet_length(signature) = 64)
);
CREATE INDEX checkpoints_key_id_idx ON checkpoints (key_id);

CREATE FUNCTION checkpoints_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'checkpoints are never changed or removed'
        USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'checkpoints_append_only';
END $$;
CREATE TRIGGER checkpoints_append_only BEFORE UPDATE OR DELETE ON checkpoints
    FOR EACH ROW EXECUTE FUNCTION checkpoints_append_only();
CREATE TRIGGER checkpoints_append_only_truncate BEFORE TRUNCATE ON checkpoints
    FOR EACH STATEMENT EXECUTE FUNCTION checkpoints_append_only();

CREATE FUNCTION checkpoint_keys_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF NEW.key_id = OLD.key_id AND NEW.public_key = OLD.public_key AND NEW.created_at = OLD.created_at
           AND NEW.private_pkcs8 IS NULL THEN
            RETURN NEW;
        END IF;
    END IF;
    RAISE EXCEPTION 'public keys of checkpoints are never changed or removed; a private one is only forgotten'
        USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'checkpoint_keys_guard';
END $$;
CREATE TRIGGER checkpoint_keys_guard BEFORE UPDATE OR DELETE ON checkpoint_keys
    FOR EACH ROW EXECUTE FUNCTION checkpoint_keys_guard();
CREATE TRIGGER checkpoint_keys_guard_truncate BEFORE TRUNCATE ON checkpoint_keys
    FOR EACH STATEMENT EXECUTE FUNCTION checkpoint_keys_guard();
