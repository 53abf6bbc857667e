PRAGMA temp_store = MEMORY;
CREATE TABLE events (id INTEGER PRIMARY KEY, user TEXT, bytes INTEGER, note TEXT);
BEGIN;
WITH RECURSIVE counter(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM counter WHERE i < {rows})
INSERT INTO events SELECT i, 'user' || (i * 7919 % 4999), i * 31 % 100003, printf('%.*c', i % 60, 'x') FROM counter;
COMMIT;
CREATE INDEX by_user ON events (user, bytes);
SELECT user, count(*), sum(bytes), max(length(note)) FROM events GROUP BY user ORDER BY 3 DESC LIMIT 5;
SELECT count(DISTINCT group_name) FROM (SELECT group_concat(id) AS group_name FROM events GROUP BY user);
UPDATE events SET note = note || user WHERE bytes % 3 = 0;
DELETE FROM events WHERE bytes % 5 = 0;
SELECT count(*), sum(length(note)) FROM events;
