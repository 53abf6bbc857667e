# postgres.sh FOLDER-OF-THE-PROGRAMS: a server with a process per connection, as a user of its own.
# Run as root it goes on as nobody: the server refuses root.
set -e
if [ "$(id -u)" = 0 ]; then
    chmod 777 .
    exec setpriv --reuid 65534 --regid 65534 --clear-groups bash "$0" "$1"
fi
export HOME=$PWD PGHOST=$PWD PGUSER=test PGDATABASE=postgres
"$1/initdb" -D data -U test --no-sync --locale=C -E UTF8 > log 2>&1
"$1/pg_ctl" -D data -w -l server.log -o "-k $PWD -c listen_addresses='' -c fsync=off" start >> log 2>&1
trap '"$1/pg_ctl" -D data -m fast stop >> log 2>&1' EXIT
"$1/psql" -qAt <<END
CREATE TABLE item AS SELECT i AS id, 'name' || i * 7919 % 1009 AS name, repeat('x', i % 100) AS text
    FROM generate_series(1, 20000) AS i;
CREATE INDEX ON item (name);
SELECT count(*), sum(length(text)), count(DISTINCT name) FROM item;
SELECT name, count(*), string_agg(id::text, ',' ORDER BY id) FROM item GROUP BY name ORDER BY name LIMIT 2;
END
for client in 1 2 3 4; do
    for query in 1 2 3; do
        echo "UPDATE item SET text = text || '$client' WHERE id % 4 = $client - 1 AND id < 1000;"
        echo "SELECT md5(string_agg(text, ',' ORDER BY id)) FROM item WHERE id % 4 = $client - 1;"
    done | "$1/psql" -qAt > client$client &
done
wait
cat client1 client2 client3 client4
