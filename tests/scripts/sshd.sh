# sshd.sh: logins through a server that separates privileges and locks itself into a sandbox.
set -e
port=$((20000 + RANDOM % 20000))
ssh-keygen -q -t ed25519 -N '' -f host
ssh-keygen -q -t ed25519 -N '' -f user
[ "$(id -u)" = 0 ] && mkdir -p /run/sshd
cat > sshd_config <<END
ListenAddress 127.0.0.1:$port
HostKey $PWD/host
AuthorizedKeysFile $PWD/user.pub
PidFile $PWD/pid
StrictModes no
UsePAM no
PasswordAuthentication no
END
"$(command -v sshd || echo /usr/sbin/sshd)" -f "$PWD/sshd_config" -E "$PWD/log"
trap 'kill "$(cat pid)"' EXIT
login() {
    ssh -F none -p "$port" -i user -o IdentitiesOnly=yes -o StrictHostKeyChecking=no -o LogLevel=ERROR \
        -o UserKnownHostsFile=/dev/null 127.0.0.1 "$@"
}
for try in $(seq 100); do [ -f pid ] && break; sleep 0.1; done
for i in 1 2 3 4 5; do login "echo login $i; seq 20000 | cksum" & wait $!; done
seq 300000 | login cksum
for i in 1 2 3 4; do login "seq $i 1000 | cksum" > out$i & done
for job in $(jobs -p); do wait "$job"; done
cat out1 out2 out3 out4
