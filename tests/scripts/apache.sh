# apache.sh: a server of processes that serve fifty requests each and end.
set -e
modules=/usr/lib/apache2/modules
mkdir -p pages run
seq 3000 > pages/index.txt
port=$((20000 + RANDOM % 20000))
cat > httpd.conf <<END
ServerRoot $PWD
ServerName localhost
PidFile $PWD/run/pid
Mutex file:$PWD/run default
ErrorLog $PWD/error.log
Listen 127.0.0.1:$port
DocumentRoot $PWD/pages
LoadModule mpm_prefork_module $modules/mod_mpm_prefork.so
LoadModule authz_core_module $modules/mod_authz_core.so
LoadModule deflate_module $modules/mod_deflate.so
LoadModule filter_module $modules/mod_filter.so
AddOutputFilterByType DEFLATE text/plain
StartServers 3
MaxRequestWorkers 8
MaxConnectionsPerChild 50
<Directory "$PWD/pages">
    Require all granted
</Directory>
$([ "$(id -u)" = 0 ] && echo "User nobody")
END
# The processes that serve are nobody's.
chmod -R a+rX .
apache2 -f "$PWD/httpd.conf" -k start
trap 'apache2 -f "$PWD/httpd.conf" -k stop' EXIT
for try in $(seq 100); do curl -s "http://127.0.0.1:$port/index.txt" > first && break; sleep 0.1; done
cksum < first
ab -q -n 1500 -c 6 -H 'Accept-Encoding: gzip' "http://127.0.0.1:$port/index.txt" > report
grep -e '^Complete requests' -e '^Failed requests' report
curl -sS --compressed "http://127.0.0.1:$port/index.txt" | cksum
grep -c -e 'exit signal' -e Segmentation error.log || true
