-- Live events: the order in which they are told (ADR 017). Nothing here is written by an append to the audit.

SET LOCAL lock_timeout = '3s';

-- How often a lock has changed hands. Counted while its row is held, so the numbers of one lock have no gaps and are
-- visible in their order. An extension changes nothing here.
ALTER TABLE locks ADD COLUMN changes bigint NOT NULL DEFAULT 0;

-- Who held a lock, one row for each change of hands. A lock's own row only knows the present.
CREATE TABLE lock_changes (
    environment_id      bigint      NOT NULL,
    key                 text        NOT NULL,
    number              bigint      NOT NULL,
    kind                text        NOT NULL,
    changed_at          timestamptz NOT NULL,
    fence               bigint      NOT NULL,
    -- Who holds it from now on, or held it until now.
    owner               text        NOT NULL,
    -- Whose lease had ended, where another took over.
    previous_owner      text,
    execution_id        bigint,
    -- The execution that holds it no more.
    ended_execution_id  bigint,
    -- Head of the service's audit at that moment: entries up to it came before.
    audit_seq           bigint      NOT NULL,
    CONSTRAINT lock_changes_pkey PRIMARY KEY (environment_id, key, number),
    CONSTRAINT lock_changes_kind_check CHECK (kind IN ('GRANTED', 'RENEWED', 'TAKEN_OVER', 'RELEASED', 'FORCED'))
);

-- By the database, so that no way to change a lock can forget it: an older server during an upgrade, a person with psql.
CREATE FUNCTION locks_note_change() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    service bigint := CASE WHEN NEW.key ~ '^[0-9]{1,18}$' THEN NEW.key::bigint END;
BEGIN
    NEW.changes := OLD.changes + 1;
    INSERT INTO lock_changes (environment_id, key, number, kind, changed_at, fence, owner, previous_owner, execution_id,
                              ended_execution_id, audit_seq)
    VALUES (NEW.environment_id, NEW.key, NEW.changes,
            CASE WHEN NEW.owner IS NULL AND current_setting('flamingock.lock_release', true) = 'forced' THEN 'FORCED'
                 WHEN NEW.owner IS NULL THEN 'RELEASED'
                 WHEN OLD.owner IS NULL THEN 'GRANTED'
                 WHEN OLD.owner = NEW.owner THEN 'RENEWED'
                 ELSE 'TAKEN_OVER' END,
            clock_timestamp(), NEW.fence, coalesce(NEW.owner, OLD.owner),
            CASE WHEN OLD.owner <> NEW.owner THEN OLD.owner END, NEW.execution_id,
            CASE WHEN OLD.execution_id IS DISTINCT FROM NEW.execution_id THEN OLD.execution_id END,
            coalesce((SELECT s.head_seq FROM audit_streams s
                       WHERE s.environment_id = NEW.environment_id AND s.service_id = service), 0));
    RETURN NEW;
END $$;
CREATE TRIGGER locks_note_change BEFORE UPDATE ON locks FOR EACH ROW
    WHEN ((OLD.owner IS NOT NULL OR NEW.owner IS NOT NULL)
          AND (OLD.fence <> NEW.fence OR OLD.owner IS DISTINCT FROM NEW.owner))
    EXECUTE FUNCTION locks_note_change();

CREATE FUNCTION lock_changes_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the history of a lock is never changed or removed'
        USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'lock_changes_append_only';
END $$;
CREATE TRIGGER lock_changes_append_only BEFORE UPDATE OR DELETE ON lock_changes
    FOR EACH ROW EXECUTE FUNCTION lock_changes_append_only();
CREATE TRIGGER lock_changes_append_only_truncate BEFORE TRUNCATE ON lock_changes
    FOR EACH STATEMENT EXECUTE FUNCTION lock_changes_append_only();

-- One row for each organisation that somebody ever listened to. Whoever holds it orders what is new.
CREATE TABLE event_logs (
    organisation_id  bigint      NOT NULL,
    head_id          bigint      NOT NULL DEFAULT 0,
    -- When its last row was written; tells it from another of the same number after a restore.
    head_at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT event_logs_pkey PRIMARY KEY (organisation_id),
    CONSTRAINT event_logs_organisation_id_fkey FOREIGN KEY (organisation_id) REFERENCES organisations (id)
);

-- The order: contiguous ids for each organisation, committed in their order. A row says what is next to be told: a range
-- of a service's audit together with a range of its lock's changes, or an admin action. It copies nothing.
CREATE TABLE event_log (
    organisation_id  bigint      NOT NULL,
    id               bigint      NOT NULL,
    ordered_at       timestamptz NOT NULL,
    project_id       bigint,
    environment_id   bigint,
    service_id       bigint,
    lock_key         text,
    stream_id        bigint,
    -- The first of each range was told before.
    from_seq         bigint      NOT NULL DEFAULT 0,
    to_seq           bigint      NOT NULL DEFAULT 0,
    from_change      bigint      NOT NULL DEFAULT 0,
    to_change        bigint      NOT NULL DEFAULT 0,
    action_id        bigint,
    CONSTRAINT event_log_pkey PRIMARY KEY (organisation_id, id),
    CONSTRAINT event_log_organisation_id_fkey FOREIGN KEY (organisation_id) REFERENCES event_logs (organisation_id),
    CONSTRAINT event_log_range_check CHECK (from_seq <= to_seq AND from_change <= to_change)
);

-- How far each service is in the order.
CREATE TABLE event_positions (
    environment_id  bigint NOT NULL,
    lock_key        text   NOT NULL,
    seq             bigint NOT NULL,
    change          bigint NOT NULL,
    CONSTRAINT event_positions_pkey PRIMARY KEY (environment_id, lock_key)
) WITH (fillfactor = 70);

-- Admin actions that are not in the order yet. Their own ids cannot tell: a lower one may be committed later.
CREATE TABLE event_actions (
    action_id        bigint NOT NULL,
    organisation_id  bigint NOT NULL,
    CONSTRAINT event_actions_pkey PRIMARY KEY (action_id)
);
CREATE INDEX event_actions_organisation_id_action_id_idx ON event_actions (organisation_id, action_id);

CREATE FUNCTION admin_actions_queue() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO event_actions (action_id, organisation_id) VALUES (NEW.id, NEW.organisation_id);
    RETURN NULL;
END $$;
CREATE TRIGGER admin_actions_queue AFTER INSERT ON admin_actions FOR EACH ROW
    WHEN (NEW.organisation_id IS NOT NULL) EXECUTE FUNCTION admin_actions_queue();

-- The triggers write with the rights of whoever changes a lock or records an action. A server that runs with rights of
-- its own, and has not been given those on the new tables yet, must not be stopped by them.
DO $$
DECLARE
    writer regrole;
BEGIN
    FOR writer IN
        SELECT DISTINCT a.grantee::regrole FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) a
         WHERE c.oid = 'locks'::regclass AND a.privilege_type = 'UPDATE' AND a.grantee NOT IN (0, c.relowner)
    LOOP
        EXECUTE format('GRANT INSERT ON lock_changes, event_actions TO %s', writer);
    END LOOP;
END $$;
