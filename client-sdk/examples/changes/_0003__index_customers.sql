-- flamingock:
--   id: index-customers
--   author: mara
--   targetSystem: orders-db
--   recovery: ALWAYS_RETRY

-- It cannot be part of a transaction, so it may be left half done: an attempt begins by removing what another left.
DROP INDEX CONCURRENTLY IF EXISTS orders_by_customer;
CREATE INDEX CONCURRENTLY orders_by_customer ON orders (customer_id);

-- flamingock: rollback
DROP INDEX CONCURRENTLY IF EXISTS orders_by_customer;
