DROP INDEX parked_order;
ALTER TABLE parked DROP COLUMN order_key;
DROP INDEX outbox_order;
ALTER TABLE outbox DROP COLUMN order_key;
