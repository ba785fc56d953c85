-- People rename and archive what there is of the tenancy, and rotate tokens, while applications run.

SET LOCAL lock_timeout = '3s';

-- Archived: no new session and no new plan; all history stays. Null: in use.
ALTER TABLE organisations ADD COLUMN archived_at timestamptz;
ALTER TABLE projects ADD COLUMN archived_at timestamptz;
ALTER TABLE environments ADD COLUMN archived_at timestamptz;
ALTER TABLE services ADD COLUMN archived_at timestamptz;
-- Every replica polls these.
CREATE INDEX organisations_archived_at_idx ON organisations (archived_at) WHERE archived_at IS NOT NULL;
CREATE INDEX projects_archived_at_idx ON projects (archived_at) WHERE archived_at IS NOT NULL;
CREATE INDEX environments_archived_at_idx ON environments (archived_at) WHERE archived_at IS NOT NULL;
CREATE INDEX services_archived_at_idx ON services (archived_at) WHERE archived_at IS NOT NULL;

-- Every name that something has or had. A name that was left stays its former owner's: an application that still starts under
-- it must find its history, and never register a twin of itself with an empty one.
CREATE TABLE unit_names (
    kind       text        NOT NULL,
    -- What the name is unique in: a project, an organisation, or 0 for the server.
    within_id  bigint      NOT NULL,
    name       text        NOT NULL,
    unit_id    bigint      NOT NULL,
    given_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT unit_names_pkey PRIMARY KEY (kind, within_id, name),
    CONSTRAINT unit_names_kind_check CHECK (kind IN ('organisation', 'project', 'environment', 'service'))
);
CREATE INDEX unit_names_kind_unit_id_idx ON unit_names (kind, unit_id);

-- In the database, so that it binds whoever names something: the API, the bootstrap file, a service that registers itself, the
-- binary before this one.
CREATE FUNCTION unit_names_keep() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    within bigint;
    holder bigint;
BEGIN
    CASE TG_ARGV[0]
        WHEN 'organisation' THEN within := 0;
        WHEN 'project' THEN within := NEW.organisation_id;
        ELSE within := NEW.project_id;
    END CASE;
    INSERT INTO unit_names (kind, within_id, name, unit_id) VALUES (TG_ARGV[0], within, NEW.name, NEW.id)
    ON CONFLICT ON CONSTRAINT unit_names_pkey DO NOTHING;
    -- A statement of its own: whoever had the name at the same moment has committed by now, and is seen.
    SELECT unit_id INTO holder FROM unit_names
     WHERE kind = TG_ARGV[0] AND within_id = within AND name = NEW.name;
    IF holder IS DISTINCT FROM NEW.id THEN
        RAISE EXCEPTION 'the name % is or was that of % %', NEW.name, TG_ARGV[0], holder
            USING ERRCODE = 'unique_violation', CONSTRAINT = 'unit_names_pkey';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER unit_names_keep AFTER INSERT OR UPDATE OF name ON organisations
    FOR EACH ROW EXECUTE FUNCTION unit_names_keep('organisation');
CREATE TRIGGER unit_names_keep AFTER INSERT OR UPDATE OF name ON projects
    FOR EACH ROW EXECUTE FUNCTION unit_names_keep('project');
CREATE TRIGGER unit_names_keep AFTER INSERT OR UPDATE OF name ON environments
    FOR EACH ROW EXECUTE FUNCTION unit_names_keep('environment');
CREATE TRIGGER unit_names_keep AFTER INSERT OR UPDATE OF name ON services
    FOR EACH ROW EXECUTE FUNCTION unit_names_keep('service');

-- After the triggers, whose tables are locked until the end of this: nothing is missed between the two. Few rows: tenants, not
-- history.
INSERT INTO unit_names (kind, within_id, name, unit_id) SELECT 'organisation', 0, name, id FROM organisations;
INSERT INTO unit_names (kind, within_id, name, unit_id) SELECT 'project', organisation_id, name, id FROM projects;
INSERT INTO unit_names (kind, within_id, name, unit_id) SELECT 'environment', project_id, name, id FROM environments;
INSERT INTO unit_names (kind, within_id, name, unit_id) SELECT 'service', project_id, name, id FROM services;

-- A token that was rotated lives on until its overlap ends, beside the one that came for it.
ALTER TABLE api_tokens ADD COLUMN replaced_by bigint;
ALTER TABLE api_tokens ADD CONSTRAINT api_tokens_replaced_by_fkey FOREIGN KEY (replaced_by) REFERENCES api_tokens (id);
CREATE INDEX api_tokens_replaced_by_idx ON api_tokens (replaced_by);
-- The first characters, by which people tell tokens apart: 30 of 256 random bits. Null: not known.
ALTER TABLE api_tokens ADD COLUMN hint text;
-- A name is unique among the tokens that live and were not replaced. For tokens that the binary before this one makes that is
-- what the index before said.
CREATE UNIQUE INDEX api_tokens_owner_current_name_key
    ON api_tokens (coalesce(organisation_id, 0), coalesce(project_id, 0), name)
    WHERE revoked_at IS NULL AND replaced_by IS NULL;
DROP INDEX api_tokens_owner_name_key;
