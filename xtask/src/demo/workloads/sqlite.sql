-- Tables, indexes, joins, window functions and a transaction rolled back, all in memory.
.mode list
CREATE TABLE item(id INTEGER PRIMARY KEY, name TEXT, kind INTEGER, price REAL);
CREATE TABLE sale(id INTEGER PRIMARY KEY, item INTEGER REFERENCES item(id), day INTEGER, amount INTEGER);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40000)
INSERT INTO item SELECT i, 'item-' || printf('%06d', i * 7919 % 40009), i % 37, (i * 31 % 1000) / 8.0 FROM n;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 150000)
INSERT INTO sale SELECT i, 1 + i * 104729 % 40000, i * 13 % 365, 1 + i * 7 % 20 FROM n;
CREATE INDEX item_name ON item(name);
CREATE INDEX sale_item ON sale(item, day);
SELECT kind, count(*), sum(amount), round(sum(amount * price), 3)
  FROM sale JOIN item ON item.id = sale.item GROUP BY kind ORDER BY kind LIMIT 10;
SELECT day, total, sum(total) OVER (ORDER BY day) FROM (SELECT day, sum(amount) AS total FROM sale GROUP BY day) LIMIT 5;
SELECT name FROM item WHERE name LIKE 'item-0123%' ORDER BY name LIMIT 5;
BEGIN;
UPDATE item SET name = name || '-' || hex(name) WHERE kind < 10;
DELETE FROM sale WHERE day % 3 = 0;
SELECT count(*), sum(length(name)) FROM item;
ROLLBACK;
SELECT count(*), sum(length(name)) FROM item;
SELECT group_concat(name, ',') FROM (SELECT name FROM item ORDER BY price DESC, id LIMIT 8);
PRAGMA integrity_check;
