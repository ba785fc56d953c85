-- Who may ask for what: organisation -> project -> environment and service; credentials; signing keys.

CREATE TABLE organisations (
    id          bigint GENERATED ALWAYS AS IDENTITY,
    name        text        NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT organisations_pkey PRIMARY KEY (id),
    CONSTRAINT organisations_name_key UNIQUE (name),
    CONSTRAINT organisations_name_check CHECK (length(name) BETWEEN 1 AND 200)
);

CREATE TABLE projects (
    id                      bigint GENERATED ALWAYS AS IDENTITY,
    organisation_id         bigint      NOT NULL,
    name                    text        NOT NULL,
    -- Unknown services register themselves at their first token exchange. Unknown environments never do: a mistyped
    -- one would start with an empty history and run everything again.
    self_register_services  boolean     NOT NULL DEFAULT false,
    created_at              timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT projects_pkey PRIMARY KEY (id),
    CONSTRAINT projects_organisation_id_name_key UNIQUE (organisation_id, name),
    CONSTRAINT projects_organisation_id_fkey FOREIGN KEY (organisation_id) REFERENCES organisations (id),
    CONSTRAINT projects_name_check CHECK (length(name) BETWEEN 1 AND 200)
);

CREATE TABLE environments (
    id                  bigint GENERATED ALWAYS AS IDENTITY,
    project_id          bigint      NOT NULL,
    name                text        NOT NULL,
    -- M3 of the planner: an absent mark proves that a started transactional change did not commit.
    trust_absent_marks  boolean     NOT NULL DEFAULT false,
    created_at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT environments_pkey PRIMARY KEY (id),
    CONSTRAINT environments_project_id_name_key UNIQUE (project_id, name),
    CONSTRAINT environments_project_id_fkey FOREIGN KEY (project_id) REFERENCES projects (id),
    CONSTRAINT environments_name_check CHECK (length(name) BETWEEN 1 AND 200)
);

CREATE TABLE services (
    id          bigint GENERATED ALWAYS AS IDENTITY,
    project_id  bigint      NOT NULL,
    name        text        NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT services_pkey PRIMARY KEY (id),
    CONSTRAINT services_project_id_name_key UNIQUE (project_id, name),
    CONSTRAINT services_project_id_fkey FOREIGN KEY (project_id) REFERENCES projects (id),
    CONSTRAINT services_name_check CHECK (length(name) BETWEEN 1 AND 200)
);

-- Opaque API tokens. Only the digest is kept: whoever reads this table cannot use what it holds.
CREATE TABLE api_tokens (
    id               bigint GENERATED ALWAYS AS IDENTITY,
    organisation_id  bigint,                    -- null: a server-wide root token
    project_id       bigint,                    -- null: the whole organisation
    name             text        NOT NULL,
    role             text        NOT NULL,
    -- SHA-256 of the token's text.
    sha256           bytea       NOT NULL,
    -- null: all of the project, now and later.
    environment_ids  bigint[],
    service_ids      bigint[],
    created_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at       timestamptz,
    revoked_at       timestamptz,
    last_used_at     timestamptz,
    CONSTRAINT api_tokens_pkey PRIMARY KEY (id),
    CONSTRAINT api_tokens_sha256_key UNIQUE (sha256),
    CONSTRAINT api_tokens_organisation_id_fkey FOREIGN KEY (organisation_id) REFERENCES organisations (id),
    CONSTRAINT api_tokens_project_id_fkey FOREIGN KEY (project_id) REFERENCES projects (id),
    CONSTRAINT api_tokens_name_check CHECK (length(name) BETWEEN 1 AND 200),
    CONSTRAINT api_tokens_sha256_check CHECK (octet_length(sha256) = 32),
    CONSTRAINT api_tokens_role_check CHECK (role IN ('runner', 'viewer', 'operator', 'admin', 'root')),
    CONSTRAINT api_tokens_scope_check CHECK (
        (role = 'root') = (organisation_id IS NULL)
        AND (project_id IS NULL OR organisation_id IS NOT NULL)
        AND (project_id IS NOT NULL OR (environment_ids IS NULL AND service_ids IS NULL))
        AND (role <> 'runner' OR project_id IS NOT NULL)
    )
);
-- A name is unique among the living tokens of its owner: the bootstrap file finds its tokens by it.
CREATE UNIQUE INDEX api_tokens_owner_name_key
    ON api_tokens (coalesce(organisation_id, 0), coalesce(project_id, 0), name) WHERE revoked_at IS NULL;
CREATE INDEX api_tokens_organisation_id_idx ON api_tokens (organisation_id);
CREATE INDEX api_tokens_project_id_idx ON api_tokens (project_id);
-- Every replica polls this to cut off sessions of revoked tokens.
CREATE INDEX api_tokens_revoked_at_idx ON api_tokens (revoked_at) WHERE revoked_at IS NOT NULL;

-- Ed25519 keys that sign sessions. Replicas share them; an old key verifies until its last session has ended.
CREATE TABLE signing_keys (
    kid           text        NOT NULL,
    algorithm     text        NOT NULL,
    private_pkcs8 bytea       NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT signing_keys_pkey PRIMARY KEY (kid),
    CONSTRAINT signing_keys_algorithm_check CHECK (algorithm = 'EdDSA')
);
