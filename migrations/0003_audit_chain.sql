-- The hash chain, recomputed by the database itself. The canonical form is defined in the server's `domain::chain`;
-- this is its twin, and a test holds the two against each other.

-- One field as a netstring; absent is '-,'.
CREATE FUNCTION audit_field(value text) RETURNS bytea LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN value IS NULL THEN '-,'::bytea
                ELSE convert_to(octet_length(convert_to(value, 'UTF8'))::text || ':' || value || ',', 'UTF8') END
$$;

CREATE FUNCTION audit_flag(value boolean) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE value WHEN true THEN 'true' WHEN false THEN 'false' END
$$;

CREATE FUNCTION audit_canonical(e audit_entries) RETURNS bytea LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT convert_to(E'flamingock-audit-v1\n', 'UTF8')
        || audit_field(e.environment_id::text) || audit_field(e.service_id::text) || audit_field(e.seq::text)
        || audit_field(e.source) || audit_field(e.execution_ref) || audit_field(e.change_id)
        || audit_field(e.stage_id) || audit_field(e.author) || audit_field(e.applied_at_ms::text)
        || audit_field(e.state) || audit_field(e.class_name) || audit_field(e.method_name)
        || audit_field(e.metadata) || audit_field(e.execution_millis::text) || audit_field(e.execution_hostname)
        || audit_field(e.error_trace) || audit_field(e.change_type) || audit_field(e.tx_strategy)
        || audit_field(e.target_system_id) || audit_field(e.change_order) || audit_field(e.recovery_strategy)
        || audit_field(audit_flag(e.transaction_flag)) || audit_field(audit_flag(e.system_change))
        || audit_field(e.runner_id) || audit_field(e.fence::text) || audit_field(audit_flag(e.late))
        || audit_field(e.actor) || audit_field(e.note)
        || audit_field((extract(epoch FROM e.received_at) * 1000000)::bigint::text)
$$;

-- First break in a stream's chain, or no row when it is intact.
CREATE FUNCTION audit_verify(of_stream bigint)
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
