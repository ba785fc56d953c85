-- flamingock:
--   id: create-gift-cards
--   author: mara
--   targetSystem: orders-db

-- In one transaction, with the mark that settles what a crash leaves open: it needs no rollback.
CREATE TABLE gift_cards (
    code      text PRIMARY KEY,
    cents     bigint NOT NULL CHECK (cents >= 0),
    issued_at timestamptz NOT NULL DEFAULT now()
);
