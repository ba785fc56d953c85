/// What refinery calls its last migration.
const LAST: &str = "42";
const OLD_TABLE: &str = "refinery_schema_history";
const OLD_LATEST: &str = "SELECT max(version)::text FROM refinery_schema_history";
