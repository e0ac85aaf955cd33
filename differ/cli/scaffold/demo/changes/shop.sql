-- Order 1041 is shipped.
UPDATE orders SET status = 'shipped', shipped_on = '2026-11-20'
    WHERE order_id = 1041;
-- Order 1043 gets one more item.
INSERT INTO order_items VALUES (1043, 2, 'HON-ACAC', 1, 6.30);
UPDATE orders SET total = 17.10 WHERE order_id = 1043;
-- Order 1044 was a mistake: deleted, as if it had never been.
DELETE FROM order_items WHERE order_id = 1044;
DELETE FROM orders WHERE order_id = 1044;
-- A new order comes in.
INSERT INTO orders VALUES
    (1101, 'C37', 'open', '2026-11-20', NULL, 10.00, 'ਜਲਦੀ 🙂');
INSERT INTO order_items VALUES (1101, 1, 'TEA-CHAI', 2, 5.00);
-- Masala chai is cheaper from now on; what was ordered before keeps its price.
UPDATE products SET price = 5.00 WHERE sku = 'TEA-CHAI';
