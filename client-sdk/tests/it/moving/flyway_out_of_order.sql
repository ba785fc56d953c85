-- What was left by flyway-core 11.13.2 on PostgreSQL: 41.1 came after 42, with 'outOfOrder'.
CREATE TABLE public.flyway_schema_history (
    installed_rank integer NOT NULL,
    version character varying(50),
    description character varying(200) NOT NULL,
    type character varying(20) NOT NULL,
    script character varying(1000) NOT NULL,
    checksum integer,
    installed_by character varying(100) NOT NULL,
    installed_on timestamp without time zone DEFAULT now() NOT NULL,
    execution_time integer NOT NULL,
    success boolean NOT NULL
);

INSERT INTO public.flyway_schema_history VALUES (1, '41', 'shops', 'SQL', 'V41__shops.sql', 1275963439, 'postgres', '2026-11-25 22:34:24.958777', 96, true);
INSERT INTO public.flyway_schema_history VALUES (2, '42', 'orders', 'SQL', 'V42__orders.sql', -1927402203, 'postgres', '2026-11-25 22:34:25.393382', 8, true);
INSERT INTO public.flyway_schema_history VALUES (3, NULL, 'shop names', 'SQL', 'R__shop_names.sql', -578991169, 'postgres', '2026-11-25 22:34:25.436676', 4, true);
INSERT INTO public.flyway_schema_history VALUES (4, '41.1', 'city', 'SQL', 'V41.1__city.sql', 2078942767, 'postgres', '2026-11-25 22:34:28.957809', 110, true);

ALTER TABLE ONLY public.flyway_schema_history
    ADD CONSTRAINT flyway_schema_history_pk PRIMARY KEY (installed_rank);

CREATE INDEX flyway_schema_history_s_idx ON public.flyway_schema_history USING btree (success);
