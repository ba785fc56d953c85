-- Long changes: where they have got to, how far they are, and requests that an execution stop.

SET LOCAL lock_timeout = '3s';

-- One row for each change that ever told something of itself while it ran: the last of it. Not in the audit, because it is
-- overwritten (ADR 024). Written under the row of the lock by its holder alone, so never by a runner that has lost it. That
-- a row is there does not say that its cursor still holds: `domain::progress` does.
CREATE TABLE change_progress (
    stream_id         bigint      NOT NULL,
    change_id         text        NOT NULL,
    -- The attempt that it is about: which told it, or was given the cursor to go on from.
    execution_id      bigint      NOT NULL,
    -- Counts the writes of that attempt, so that one that was held up on its way takes nothing back.
    sequence          bigint      NOT NULL,
    -- The change's own words.
    cursor            text,
    cursor_saved_at   timestamptz,
    void_when_failed  boolean     NOT NULL,
    -- Latest entry of the change when the attempt was given the cursor of the one before.
    handed_on_seq     bigint,
    done              bigint,
    total             bigint,
    message           text,
    reported_at       timestamptz,
    CONSTRAINT change_progress_pkey PRIMARY KEY (stream_id, change_id),
    CONSTRAINT change_progress_stream_id_fkey FOREIGN KEY (stream_id) REFERENCES audit_streams (id),
    CONSTRAINT change_progress_execution_id_fkey FOREIGN KEY (execution_id) REFERENCES executions (id),
    CONSTRAINT change_progress_cursor_check CHECK (octet_length(cursor) <= 8192),
    CONSTRAINT change_progress_message_check CHECK (length(message) <= 300),
    CONSTRAINT change_progress_sequence_check CHECK (sequence >= 0),
    CONSTRAINT change_progress_amounts_check CHECK (done >= 0 AND total >= 0)
) WITH (fillfactor = 50);
CREATE INDEX change_progress_execution_id_idx ON change_progress (execution_id);

-- People's requests that an execution stop: the first of each.
CREATE TABLE execution_cancellations (
    execution_id  bigint      NOT NULL,
    actor         text        NOT NULL,
    reason        text        NOT NULL,
    requested_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT execution_cancellations_pkey PRIMARY KEY (execution_id),
    CONSTRAINT execution_cancellations_execution_id_fkey FOREIGN KEY (execution_id) REFERENCES executions (id)
);

CREATE FUNCTION execution_cancellations_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'requests to stop are never changed or removed'
        USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'execution_cancellations_append_only';
END $$;
CREATE TRIGGER execution_cancellations_append_only BEFORE UPDATE OR DELETE ON execution_cancellations
    FOR EACH ROW EXECUTE FUNCTION execution_cancellations_append_only();
CREATE TRIGGER execution_cancellations_append_only_truncate BEFORE TRUNCATE ON execution_cancellations
    FOR EACH STATEMENT EXECUTE FUNCTION execution_cancellations_append_only();

-- The execution that was asked to stop last, so that a heartbeat sees it in the row that it reads anyway. It means nothing
-- once the lock is another execution's, and so is never cleared.
ALTER TABLE locks ADD COLUMN cancel_execution_id bigint;
