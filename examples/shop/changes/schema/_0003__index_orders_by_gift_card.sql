-- flamingock:
--   id: index-orders-by-gift-card
--   author: mara
--   targetSystem: orders-db
--   recovery: ALWAYS_RETRY

-- Without a transaction, so that nobody who orders has to wait. It may be left half done: an attempt begins by removing
-- what another left.
DROP INDEX CONCURRENTLY IF EXISTS orders_by_gift_card;
CREATE INDEX CONCURRENTLY orders_by_gift_card ON orders (gift_card);

-- flamingock: rollback
DROP INDEX CONCURRENTLY IF EXISTS orders_by_gift_card;
