/// What sqlx calls its last migration.
const LAST: &str = "42";
const OLD_TABLE: &str = "_sqlx_migrations";
const OLD_LATEST: &str = "SELECT max(version)::text FROM _sqlx_migrations WHERE success";
