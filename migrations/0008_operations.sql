-- What people need to know of executions, refused starts and waiting runners.

SET LOCAL lock_timeout = '3s';

-- How an execution came to hold its lock no more; null: it holds it, or ended before this was kept.
ALTER TABLE executions ADD COLUMN ended_by text;
ALTER TABLE executions ADD CONSTRAINT executions_ended_by_check
    CHECK (ended_by IN ('RELEASED', 'REPLACED', 'FORCED')) NOT VALID;

-- Starts that were refused: evidence for whoever has to decide what became of a change. The same refusal again is not
-- kept again, so that a runner that asks in a loop fills nothing.
CREATE TABLE refused_starts (
    id             bigint GENERATED ALWAYS AS IDENTITY,
    stream_id      bigint      NOT NULL,
    change_id      text        NOT NULL,
    -- As reported, known to us or not.
    execution_ref  text        NOT NULL,
    runner_id      text        NOT NULL,
    reason         text        NOT NULL,
    -- As echoed by the runner.
    fence          bigint,
    -- Who held the lock at that moment, and under which fence.
    lock_owner     text,
    lock_fence     bigint,
    refused_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT refused_starts_pkey PRIMARY KEY (id),
    CONSTRAINT refused_starts_stream_id_fkey FOREIGN KEY (stream_id) REFERENCES audit_streams (id),
    CONSTRAINT refused_starts_key UNIQUE (stream_id, change_id, execution_ref, runner_id, reason)
);
CREATE INDEX refused_starts_stream_id_change_id_id_idx ON refused_starts (stream_id, change_id, id DESC);

CREATE FUNCTION refused_starts_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'refused starts are never changed or removed'
        USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'refused_starts_append_only';
END $$;
CREATE TRIGGER refused_starts_append_only BEFORE UPDATE OR DELETE ON refused_starts
    FOR EACH ROW EXECUTE FUNCTION refused_starts_append_only();
CREATE TRIGGER refused_starts_append_only_truncate BEFORE TRUNCATE ON refused_starts
    FOR EACH STATEMENT EXECUTE FUNCTION refused_starts_append_only();

-- Runners that were told to wait: written late and together, for people who ask who is there. Nothing is decided by it.
CREATE TABLE runner_sightings (
    stream_id      bigint      NOT NULL,
    runner_id      text        NOT NULL,
    -- Since when it waits without a pause.
    first_seen_at  timestamptz NOT NULL,
    last_seen_at   timestamptz NOT NULL,
    is_waiting     boolean     NOT NULL,
    -- Until when at most it is parked at a replica.
    parked_until   timestamptz,
    -- Who held the lock when it was told to wait.
    waits_for      text,
    -- JSON as text: what it said about itself.
    runner_facts   text,
    CONSTRAINT runner_sightings_pkey PRIMARY KEY (stream_id, runner_id),
    CONSTRAINT runner_sightings_stream_id_fkey FOREIGN KEY (stream_id) REFERENCES audit_streams (id)
) WITH (fillfactor = 50);
CREATE INDEX runner_sightings_last_seen_at_idx ON runner_sightings (last_seen_at);
