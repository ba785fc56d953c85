-- Policies of an environment, freeze windows, approvals, and the checksums that applied changes are compared with.

SET LOCAL lock_timeout = '3s';

-- On the environment's own row, which every plan request reads anyway: a policy costs those nothing that have none, and
-- is never stale. What it was before is in the log of admin actions.
ALTER TABLE environments
    -- Grows with each change: two people who edit at once do not overwrite each other.
    ADD COLUMN policy_revision    bigint  NOT NULL DEFAULT 0,
    ADD COLUMN checksum_mismatch  text    NOT NULL DEFAULT 'ALLOW',
    ADD COLUMN out_of_order       text    NOT NULL DEFAULT 'ALLOW',
    ADD COLUMN approval_required  boolean NOT NULL DEFAULT false,
    ADD COLUMN policy_changed_at  timestamptz,
    ADD COLUMN policy_changed_by  text,
    ADD CONSTRAINT environments_checksum_mismatch_check CHECK (checksum_mismatch IN ('ALLOW', 'WARN', 'REFUSE')),
    ADD CONSTRAINT environments_out_of_order_check CHECK (out_of_order IN ('ALLOW', 'WARN', 'REFUSE'));

-- Times in which no work is granted. Kept when they are over.
CREATE TABLE freeze_windows (
    id              bigint GENERATED ALWAYS AS IDENTITY,
    environment_id  bigint      NOT NULL,
    -- null: all services, those yet to come included.
    service_ids     bigint[],
    starts_at       timestamptz NOT NULL,
    -- null: until a person ends it.
    ends_at         timestamptz,
    reason          text        NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    created_by      text        NOT NULL,
    -- Ended by a person before its time.
    ended_at        timestamptz,
    ended_by        text,
    end_reason      text,
    CONSTRAINT freeze_windows_pkey PRIMARY KEY (id),
    CONSTRAINT freeze_windows_environment_id_fkey FOREIGN KEY (environment_id) REFERENCES environments (id),
    CONSTRAINT freeze_windows_ends_at_check CHECK (ends_at > starts_at),
    CONSTRAINT freeze_windows_ended_at_check CHECK (
        (ended_at IS NULL) = (ended_by IS NULL) AND (ended_at IS NULL) = (end_reason IS NULL))
);
CREATE INDEX freeze_windows_environment_id_id_idx ON freeze_windows (environment_id, id DESC);
-- "Which of them may be open now?" Asked with every grant.
CREATE INDEX freeze_windows_open_idx ON freeze_windows (environment_id, ends_at) WHERE ended_at IS NULL;

-- What operators decided about changes that wait for approval; the newest of a (change, checksum) counts.
CREATE TABLE change_approvals (
    id             bigint GENERATED ALWAYS AS IDENTITY,
    stream_id      bigint      NOT NULL,
    change_id      text        NOT NULL,
    -- null: for a change that is submitted without one.
    checksum       text,
    decision       text        NOT NULL,
    reason         text        NOT NULL,
    credential_id  bigint,
    -- The name of the credential, to be compared with the change's author.
    approver       text,
    actor          text        NOT NULL,
    decided_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT change_approvals_pkey PRIMARY KEY (id),
    CONSTRAINT change_approvals_stream_id_fkey FOREIGN KEY (stream_id) REFERENCES audit_streams (id),
    CONSTRAINT change_approvals_decision_check CHECK (decision IN ('APPROVED', 'WITHDRAWN'))
);
CREATE INDEX change_approvals_stream_id_change_id_id_idx ON change_approvals (stream_id, change_id, id DESC);
CREATE INDEX change_approvals_stream_id_id_idx ON change_approvals (stream_id, id DESC);

-- Which changes stopped a start for want of approval: so that people see what waits for them. No decision leans on it.
CREATE TABLE approval_requests (
    stream_id       bigint      NOT NULL,
    change_id       text        NOT NULL,
    -- Empty: submitted without one.
    checksum        text        NOT NULL,
    author          text,
    runner_id       text        NOT NULL,
    first_asked_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_asked_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT approval_requests_pkey PRIMARY KEY (stream_id, change_id, checksum),
    CONSTRAINT approval_requests_stream_id_fkey FOREIGN KEY (stream_id) REFERENCES audit_streams (id)
);

-- The latest start of each service that a policy refused for its content or its order: so that people see what stands in
-- the way. No decision leans on it.
CREATE TABLE policy_stops (
    stream_id        bigint      NOT NULL,
    policy           text        NOT NULL,
    -- The policies that judged: under others the start may be another.
    policy_revision  bigint      NOT NULL,
    -- The first of them.
    change_ids       text[]      NOT NULL,
    changes          bigint      NOT NULL,
    runner_id        text        NOT NULL,
    asked_at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT policy_stops_pkey PRIMARY KEY (stream_id, policy),
    CONSTRAINT policy_stops_stream_id_fkey FOREIGN KEY (stream_id) REFERENCES audit_streams (id),
    CONSTRAINT policy_stops_policy_check CHECK (policy IN ('CHECKSUM_MISMATCH', 'OUT_OF_ORDER'))
);

-- Checksums that are accepted for applied changes. Beside the audit, not in it: a field of an entry is hashed. A row
-- counts as long as `seq` is the change's latest entry: what is applied anew begins anew.
CREATE TABLE change_checksums (
    id           bigint GENERATED ALWAYS AS IDENTITY,
    stream_id    bigint      NOT NULL,
    change_id    text        NOT NULL,
    -- The audit entry that says that the change is applied.
    seq          bigint      NOT NULL,
    checksum     text        NOT NULL,
    source       text        NOT NULL,
    actor        text,
    reason       text,
    recorded_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT change_checksums_pkey PRIMARY KEY (id),
    -- The same is accepted once: of two that accept it at once, one finds it done.
    CONSTRAINT change_checksums_stream_id_change_id_seq_checksum_key UNIQUE (stream_id, change_id, seq, checksum),
    CONSTRAINT change_checksums_stream_id_fkey FOREIGN KEY (stream_id) REFERENCES audit_streams (id),
    CONSTRAINT change_checksums_source_check CHECK (source IN ('RUNNER', 'FIRST_SEEN', 'PERSON'))
);
CREATE INDEX change_checksums_stream_id_id_idx ON change_checksums (stream_id, id DESC);

-- Checksums of what an execution was told to apply: {"change": "checksum"}. Null where its runner sent none.
ALTER TABLE executions ADD COLUMN checksums jsonb;

CREATE FUNCTION policies_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% are never changed or removed: a correction is a new one', TG_TABLE_NAME
        USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = TG_TABLE_NAME || '_append_only';
END $$;
CREATE TRIGGER change_approvals_append_only BEFORE UPDATE OR DELETE ON change_approvals
    FOR EACH ROW EXECUTE FUNCTION policies_append_only();
CREATE TRIGGER change_approvals_append_only_truncate BEFORE TRUNCATE ON change_approvals
    FOR EACH STATEMENT EXECUTE FUNCTION policies_append_only();
CREATE TRIGGER change_checksums_append_only BEFORE UPDATE OR DELETE ON change_checksums
    FOR EACH ROW EXECUTE FUNCTION policies_append_only();
CREATE TRIGGER change_checksums_append_only_truncate BEFORE TRUNCATE ON change_checksums
    FOR EACH STATEMENT EXECUTE FUNCTION policies_append_only();
