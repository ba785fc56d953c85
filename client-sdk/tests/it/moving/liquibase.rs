/// What Liquibase calls its last change set: file, id and author together are its name.
const LAST: &str = "liquibase/changelog.yaml::42::mara";
const OLD_TABLE: &str = "databasechangelog";
const OLD_LATEST: &str = "
    SELECT filename || '::' || id || '::' || author FROM databasechangelog
     WHERE exectype <> 'RERAN' ORDER BY orderexecuted DESC LIMIT 1";
