/// What Flyway calls its last migration.
const LAST: &str = "42";
const OLD_TABLE: &str = "flyway_schema_history";
const OLD_LATEST: &str = "
    SELECT version
      FROM (SELECT DISTINCT ON (version) version, type, success FROM flyway_schema_history
             WHERE version IS NOT NULL ORDER BY version, installed_rank DESC) AS newest
     WHERE success AND type NOT LIKE 'UNDO%'
     ORDER BY string_to_array(version, '.')::bigint[] DESC LIMIT 1";
