# nginx.sh: workers that a master forks, replaced while requests come.
set -e
mkdir -p pages logs temp
for i in $(seq 1 40); do seq $((i * 50)) > pages/$i.txt; done
cat > nginx.conf <<END
pid $PWD/nginx.pid;
error_log $PWD/logs/error.log warn;
$([ "$(id -u)" = 0 ] && echo "user root;")
worker_processes 2;
events { worker_connections 64; }
http {
    access_log off;
    client_body_temp_path temp/body; proxy_temp_path temp/proxy; fastcgi_temp_path temp/fastcgi;
    uwsgi_temp_path temp/uwsgi; scgi_temp_path temp/scgi;
    gzip on; gzip_min_length 100; gzip_types text/plain;
    server { listen unix:$PWD/socket; root $PWD/pages; default_type text/plain; }
}
END
nginx -p "$PWD/" -c nginx.conf
trap 'kill -QUIT $(cat nginx.pid)' EXIT
get() {
    for i in $(seq 1 40); do
        curl -sS --compressed --unix-socket socket "http://localhost/$i.txt"
    done | cksum
}
for round in 1 2 3; do
    for client in 1 2 3 4; do get > client$client & done
    [ $round = 2 ] && kill -HUP "$(cat nginx.pid)"
    for job in $(jobs -p); do wait "$job"; done
    cat client1 client2 client3 client4
done
grep -c -e alert -e emerg -e crit logs/error.log || true
