-- What was left by liquibase-core 4.33.0 on PostgreSQL: one update.
CREATE TABLE public.databasechangelog (
    id character varying(255) NOT NULL,
    author character varying(255) NOT NULL,
    filename character varying(255) NOT NULL,
    dateexecuted timestamp without time zone NOT NULL,
    orderexecuted integer NOT NULL,
    exectype character varying(10) NOT NULL,
    md5sum character varying(35),
    description character varying(255),
    comments character varying(255),
    tag character varying(255),
    liquibase character varying(20),
    contexts character varying(255),
    labels character varying(255),
    deployment_id character varying(10)
);

INSERT INTO public.databasechangelog VALUES ('41', 'mara', 'liquibase/changelog.yaml', '2026-11-25 22:55:48.84408', 1, 'EXECUTED', '9:bb9549043c88e4b3e69889ef113584da', 'createTable tableName=shops', '', NULL, '4.33.0', NULL, NULL, '5647342636');
INSERT INTO public.databasechangelog VALUES ('shop-names', 'lin', 'liquibase/changelog.yaml', '2026-11-25 22:55:48.979266', 2, 'EXECUTED', '9:bc2d11c825d96a02de6513cd414fccbb', 'sql', '', NULL, '4.33.0', NULL, NULL, '5647342636');
INSERT INTO public.databasechangelog VALUES ('always', 'lin', 'liquibase/changelog.yaml', '2026-11-25 22:55:49.003363', 3, 'EXECUTED', '9:6a68455a2c7f71d76609a01bf5a61983', 'sql', '', NULL, '4.33.0', NULL, NULL, '5647342636');
INSERT INTO public.databasechangelog VALUES ('not-here', 'mara', 'liquibase/changelog.yaml', '2026-11-25 22:55:49.01928', 4, 'MARK_RAN', '9:551f7729de0d9e3c0680b3a0ef3fa298', 'sql', '', NULL, '4.33.0', NULL, NULL, '5647342636');
INSERT INTO public.databasechangelog VALUES ('42', 'mara', 'liquibase/changelog.yaml', '2026-11-25 22:55:49.052677', 5, 'EXECUTED', '9:d16b1e379dad77f754ab87154559caca', 'createTable tableName=orders', '', NULL, '4.33.0', NULL, NULL, '5647342636');
