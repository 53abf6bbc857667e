PRAGMA journal_mode = WAL;
CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT, value REAL, data BLOB);
BEGIN;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
INSERT INTO item SELECT i, 'name' || (i * 7919 % 10007), i / 7.0, zeroblob(i % 300) FROM n;
COMMIT;
CREATE INDEX by_name ON item (name);
SELECT count(*), round(sum(value), 3), sum(length(data)) FROM item;
SELECT name, count(*) FROM item GROUP BY name HAVING count(*) > 1 ORDER BY name LIMIT 5;
SELECT a.id, b.id FROM item a JOIN item b ON a.name = b.name AND a.id < b.id ORDER BY a.id, b.id LIMIT 5;
UPDATE item SET name = upper(name), data = x'' WHERE id % 3 = 0;
DELETE FROM item WHERE id % 7 = 0;
SELECT group_concat(name, ',') FROM (SELECT name FROM item ORDER BY name DESC LIMIT 10);
VACUUM;
PRAGMA integrity_check;
SELECT json_group_array(id) FROM (SELECT id FROM item WHERE id < 30);
