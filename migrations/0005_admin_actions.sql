-- What people and automation did to the server's own state: who, from where, what, before and after. A log of its own,
-- because the audit is about changes and belongs to one service, and this is about everything else.

SET LOCAL lock_timeout = '3s';

CREATE TABLE admin_actions (
    id               bigint GENERATED ALWAYS AS IDENTITY,
    acted_at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- A word of a closed set, such as token_revoke: the operation's id.
    action           text        NOT NULL,
    -- Where it belongs; null: the whole server. What lies above a place is filled in too.
    organisation_id  bigint,
    project_id       bigint,
    environment_id   bigint,
    service_id       bigint,
    -- What it was done to, within its place: a token's name, a lock's key, a change's id.
    target           text        NOT NULL,
    -- Null: the server itself, from its bootstrap file or its command line.
    credential_id    bigint,
    actor            text        NOT NULL,
    role             text        NOT NULL,
    -- The address that the connection came from, and for whom it says it was forwarded: the second is only a claim.
    address          text,
    forwarded_for    text,
    request_id       text,
    reason           text,
    -- JSON as text, without secrets.
    before           text,
    after            text,
    CONSTRAINT admin_actions_pkey PRIMARY KEY (id),
    CONSTRAINT admin_actions_action_check CHECK (length(action) BETWEEN 1 AND 100)
);
CREATE INDEX admin_actions_organisation_id_id_idx ON admin_actions (organisation_id, id DESC);
CREATE INDEX admin_actions_environment_id_service_id_id_idx ON admin_actions (environment_id, service_id, id DESC);

CREATE FUNCTION admin_actions_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'admin actions are never changed or removed'
        USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'admin_actions_append_only';
END $$;
CREATE TRIGGER admin_actions_append_only BEFORE UPDATE OR DELETE ON admin_actions
    FOR EACH ROW EXECUTE FUNCTION admin_actions_append_only();
CREATE TRIGGER admin_actions_append_only_truncate BEFORE TRUNCATE ON admin_actions
    FOR EACH STATEMENT EXECUTE FUNCTION admin_actions_append_only();
