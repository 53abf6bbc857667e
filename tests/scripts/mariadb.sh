# mariadb.sh: a server with many threads and a storage engine with pools of its own.
set -e
options="--no-defaults --datadir=$PWD/data"
[ "$(id -u)" = 0 ] && options="$options --user=root"
mariadb-install-db $options --auth-root-authentication-method=normal --skip-test-db > install.log 2>&1
mariadbd $options --skip-networking --socket="$PWD/socket" --pid-file="$PWD/pid" \
    --innodb-flush-log-at-trx-commit=0 --innodb-buffer-pool-size=32M > server.log 2>&1 &
server=$!
trap 'kill $server; wait $server' EXIT
sql() { mariadb --no-defaults --socket="$PWD/socket" --user=root --batch --skip-column-names "$@"; }
for try in $(seq 300); do sql -e 'SELECT 1' > /dev/null 2>&1 && break; sleep 0.1; done
sql <<END
CREATE DATABASE test; USE test;
CREATE TABLE item (id INT PRIMARY KEY, name VARCHAR(40), text TEXT, KEY (name)) ENGINE=InnoDB;
INSERT INTO item SELECT seq, CONCAT('name', seq * 7919 % 1009), REPEAT('x', seq % 100) FROM seq_1_to_20000;
SELECT COUNT(*), SUM(LENGTH(text)), COUNT(DISTINCT name) FROM item;
SELECT name, COUNT(*), MD5(GROUP_CONCAT(id ORDER BY id)) FROM item GROUP BY name ORDER BY name LIMIT 3;
END
for client in 1 2 3 4; do
    for query in 1 2 3; do
        echo "UPDATE item SET text = CONCAT(text, '$client') WHERE id % 4 = $client - 1 AND id < 1000;"
        echo "SELECT SUM(CRC32(text)) FROM item WHERE id % 4 = $client - 1;"
    done | sql test > client$client &
    clients="$clients $!"
done
for client in $clients; do wait "$client"; done
cat client1 client2 client3 client4
