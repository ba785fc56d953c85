-- Streams, locks, executions, the append-only audit and its projection.

-- One row for each (environment, service) that has ever planned. Locking it orders the appends.
CREATE TABLE audit_streams (
    id              bigint GENERATED ALWAYS AS IDENTITY,
    environment_id  bigint NOT NULL,
    service_id      bigint NOT NULL,
    head_seq        bigint NOT NULL DEFAULT 0,
    head_hash       bytea  NOT NULL DEFAULT decode(repeat('00', 32), 'hex'),
    CONSTRAINT audit_streams_pkey PRIMARY KEY (id),
    CONSTRAINT audit_streams_environment_id_service_id_key UNIQUE (environment_id, service_id),
    CONSTRAINT audit_streams_environment_id_fkey FOREIGN KEY (environment_id) REFERENCES environments (id),
    CONSTRAINT audit_streams_service_id_fkey FOREIGN KEY (service_id) REFERENCES services (id),
    CONSTRAINT audit_streams_head_seq_check CHECK (head_seq >= 0),
    CONSTRAINT audit_streams_head_hash_check CHECK (octet_length(head_hash) = 32)
) WITH (fillfactor = 50);
CREATE INDEX audit_streams_service_id_idx ON audit_streams (service_id);

-- One row for each granted plan.
CREATE TABLE executions (
    id              bigint GENERATED ALWAYS AS IDENTITY,
    stream_id       bigint      NOT NULL,
    runner_id       text        NOT NULL,
    credential_id   bigint      NOT NULL,
    fence           bigint      NOT NULL,
    -- Head of the stream when the plan was decided: entries up to it are older than this execution.
    planned_at_seq  bigint      NOT NULL,
    -- The runner reported nothing yet: the first plan of a run.
    starts_run      boolean     NOT NULL,
    -- JSON as text: what was submitted, what was offered and why, what the runner said about itself.
    submission      text        NOT NULL,
    plan            text        NOT NULL,
    runner_facts    text,
    started_at      timestamptz NOT NULL,
    ended_at        timestamptz,
    CONSTRAINT executions_pkey PRIMARY KEY (id),
    CONSTRAINT executions_stream_id_fkey FOREIGN KEY (stream_id) REFERENCES audit_streams (id)
);
-- Newest first, by key.
CREATE INDEX executions_stream_id_id_idx ON executions (stream_id, id DESC);
-- "Which executions belong to this run?"
CREATE INDEX executions_stream_id_runner_id_idx ON executions (stream_id, runner_id, id DESC);

-- A row outlives its holders: the fence may never go back.
CREATE TABLE locks (
    environment_id  bigint      NOT NULL,
    key             text        NOT NULL,
    fence           bigint      NOT NULL DEFAULT 0,
    owner           text,
    acquisition_id  text,
    lease_ms        bigint,
    expires_at      timestamptz,
    acquired_at     timestamptz,
    extended_at     timestamptz,
    execution_id    bigint,
    CONSTRAINT locks_pkey PRIMARY KEY (environment_id, key),
    CONSTRAINT locks_environment_id_fkey FOREIGN KEY (environment_id) REFERENCES environments (id),
    CONSTRAINT locks_key_check CHECK (length(key) BETWEEN 1 AND 255 AND position('/' IN key) = 0),
    CONSTRAINT locks_fence_check CHECK (fence >= 0),
    CONSTRAINT locks_lease_ms_check CHECK (lease_ms BETWEEN 1000 AND 3600000),
    CONSTRAINT locks_lease_check CHECK (
        (owner IS NULL) = (acquisition_id IS NULL)
        AND (owner IS NULL) = (lease_ms IS NULL)
        AND (owner IS NULL) = (expires_at IS NULL)
        AND (owner IS NOT NULL OR execution_id IS NULL)
    )
) WITH (fillfactor = 50);

-- A fence that went back would let a stale runner write. The database refuses it, whoever asks.
CREATE FUNCTION locks_fence_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        RAISE EXCEPTION 'locks are released, never deleted: the fence must outlive the holder'
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'locks_fence_guard';
    END IF;
    IF NEW.fence < OLD.fence
       OR (NEW.owner IS NOT NULL AND NEW.owner IS DISTINCT FROM OLD.owner AND NEW.fence = OLD.fence) THEN
        RAISE EXCEPTION 'the fence of a lock only ever grows, and grows with every grant to another owner'
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'locks_fence_guard';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER locks_fence_guard BEFORE UPDATE OR DELETE ON locks
    FOR EACH ROW EXECUTE FUNCTION locks_fence_guard();

-- The audit. Partitioned by stream, so that no index grows with the whole server and a service's history stays
-- together; every question is asked within one stream.
CREATE TABLE audit_entries (
    stream_id           bigint      NOT NULL,
    seq                 bigint      NOT NULL,
    environment_id      bigint      NOT NULL,
    service_id          bigint      NOT NULL,
    source              text        NOT NULL,
    -- The execution as reported: our number, or an importer's text, or empty for a person's decision.
    execution_ref       text        NOT NULL,
    change_id           text        NOT NULL,
    stage_id            text,
    author              text,
    applied_at_ms       bigint,
    state               text        NOT NULL,
    class_name          text,
    method_name         text,
    metadata            text,
    execution_millis    bigint,
    execution_hostname  text,
    error_trace         text,
    change_type         text,
    tx_strategy         text,
    target_system_id    text,
    change_order        text,
    recovery_strategy   text,
    transaction_flag    boolean,
    system_change       boolean,
    runner_id           text,
    fence               bigint,
    late                boolean     NOT NULL,
    actor               text        NOT NULL,
    note                text,
    received_at         timestamptz NOT NULL,
    prev_hash           bytea       NOT NULL,
    hash                bytea       NOT NULL,
    CONSTRAINT audit_entries_pkey PRIMARY KEY (stream_id, seq),
    CONSTRAINT audit_entries_stream_id_fkey FOREIGN KEY (stream_id) REFERENCES audit_streams (id),
    CONSTRAINT audit_entries_seq_check CHECK (seq > 0),
    CONSTRAINT audit_entries_source_check CHECK (source IN ('RUNNER', 'MARK', 'PERSON', 'IMPORT')),
    CONSTRAINT audit_entries_hash_check CHECK (octet_length(prev_hash) = 32 AND octet_length(hash) = 32)
) PARTITION BY HASH (stream_id);

-- The same report again is found here; a person's decisions may repeat. The index is what makes it once.
CREATE UNIQUE INDEX audit_entries_report_key
    ON audit_entries (stream_id, change_id, execution_ref, state) WHERE source IN ('RUNNER', 'IMPORT');
-- "All attempts of this change."
CREATE INDEX audit_entries_stream_id_change_id_seq_idx ON audit_entries (stream_id, change_id, seq);

CREATE FUNCTION audit_entries_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'audit entries are never changed or removed: a correction is a new entry'
        USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'audit_entries_append_only';
END $$;

DO $$
BEGIN
    FOR i IN 0..15 LOOP
        EXECUTE format(
            'CREATE TABLE audit_entries_p%s PARTITION OF audit_entries FOR VALUES WITH (MODULUS 16, REMAINDER %s)',
            to_char(i, 'FM00'), i);
        -- TRUNCATE of a partition does not fire the parent's trigger.
        EXECUTE format(
            'CREATE TRIGGER audit_entries_append_only_truncate BEFORE TRUNCATE ON audit_entries_p%s
             FOR EACH STATEMENT EXECUTE FUNCTION audit_entries_append_only()', to_char(i, 'FM00'));
    END LOOP;
END $$;
CREATE TRIGGER audit_entries_append_only BEFORE UPDATE OR DELETE ON audit_entries
    FOR EACH ROW EXECUTE FUNCTION audit_entries_append_only();
CREATE TRIGGER audit_entries_append_only_truncate BEFORE TRUNCATE ON audit_entries
    FOR EACH STATEMENT EXECUTE FUNCTION audit_entries_append_only();

-- Latest state of each change that counts, written in the append's transaction: what the planner reads.
CREATE TABLE change_states (
    stream_id          bigint NOT NULL,
    change_id          text   NOT NULL,
    seq                bigint NOT NULL,
    state              text   NOT NULL,
    tx_strategy        text,
    recovery_strategy  text,
    execution_id       bigint,
    source             text   NOT NULL,
    CONSTRAINT change_states_pkey PRIMARY KEY (stream_id, change_id),
    CONSTRAINT change_states_stream_id_fkey FOREIGN KEY (stream_id) REFERENCES audit_streams (id)
) WITH (fillfactor = 80);

-- When an APPLIED mark was first reported for a change, as a position in its stream (M7 of the planner): a person's
-- decision after it was made in the knowledge of the mark. Forgotten once the mark is accounted for.
CREATE TABLE mark_reports (
    stream_id   bigint      NOT NULL,
    change_id   text        NOT NULL,
    head_seq    bigint      NOT NULL,
    reported_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT mark_reports_pkey PRIMARY KEY (stream_id, change_id),
    CONSTRAINT mark_reports_stream_id_fkey FOREIGN KEY (stream_id) REFERENCES audit_streams (id)
);
