# A server under redis-benchmark, then a fixed data set: saved by a forked child, loaded by a second server, compared.
set -eu
here=$(pwd)
rm -rf data
mkdir data

start() {
    "$DEMO_REDIS_SERVER" --port 0 --unixsocket "$here/data/socket" --dir "$here/data" --save '' --appendonly no \
        --enable-debug-command local --rdbcompression yes --logfile "$here/data/log" --hz 50 &
    server=$!
    for _ in $(seq 100); do
        [ "$(ask PING 2>/dev/null)" = PONG ] && return
        sleep 0.1
    done
    echo "the server does not answer" >&2
    [ ! -e data/log ] || cat data/log >&2
    exit 1
}
ask() {
    "$DEMO_REDIS_CLI" -s "$here/data/socket" "$@"
}
stop() {
    ask SHUTDOWN NOSAVE
    wait $server
}

start
"$DEMO_REDIS_BENCHMARK" -s "$here/data/socket" -q -n 20000 -c 20 -P 4 -r 5000 -d 200 \
    -t set,get,lpush,rpop,sadd,hset,zadd >benchmark.out 2>&1 || { cat benchmark.out; exit 1; }
grep -c 'requests per second' benchmark.out
ask FLUSHALL
ask --pipe <input/redis-commands | tail -1
ask DBSIZE
ask LRANGE list:7 0 4
ask ZRANGE scores 0 4 WITHSCORES
ask HGET hash:11 field3
digest=$(ask DEBUG DIGEST)
echo "digest: $digest"
ask BGSAVE
# Goes on changing the data while the child saves its picture of it.
for n in 1 2 3 4 5 6 7 8 9 10; do ask APPEND "string:$n" tail >/dev/null; done
for _ in $(seq 100); do
    ask INFO persistence | grep -q 'rdb_bgsave_in_progress:0' && break
    sleep 0.1
done
ask INFO persistence | tr -d '\r' | grep -E '^rdb_last_bgsave_status'
stop
start
if [ "$(ask DEBUG DIGEST)" = "$digest" ]; then echo "the saved data is the same"; else echo "the saved data DIFFERS"; fi
ask MEMORY PURGE
stop
