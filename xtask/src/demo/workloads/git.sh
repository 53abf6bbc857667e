# A repository with fixed names and dates: commits, branches, a merge, blame, repacking.
set -eu
rm -rf repository
"$DEMO_GIT" init -q -b main --template= repository
cd repository
cp ../input/*.c .
"$DEMO_GIT" add .
commit() {
    GIT_AUTHOR_DATE="2020-01-01T00:00:$1+00:00" GIT_COMMITTER_DATE="2020-01-01T00:00:$1+00:00" \
        "$DEMO_GIT" -c user.name=A -c user.email=a@b.invalid commit -q -m "commit $1"
}
commit 00
for i in 10 11 12 13 14 15 16 17 18 19 20 21; do
    for file in *.c; do
        sed -i "${i}s|\$| /* change $i */|" "$file"
    done
    "$DEMO_GIT" add -u
    commit $i
done
"$DEMO_GIT" checkout -q -b side HEAD~6
echo "int side;" >side.c
"$DEMO_GIT" add side.c
commit 30
"$DEMO_GIT" checkout -q main
GIT_AUTHOR_DATE=2020-01-01T00:01:00+00:00 GIT_COMMITTER_DATE=2020-01-01T00:01:00+00:00 \
    "$DEMO_GIT" -c user.name=A -c user.email=a@b.invalid merge -q -m merge side
"$DEMO_GIT" rev-parse HEAD
"$DEMO_GIT" log --stat --format='%h %ad %s' --date=iso | sed -n '1,40p'
"$DEMO_GIT" log -p --all | cksum
"$DEMO_GIT" blame file3.c | cksum
"$DEMO_GIT" -c pack.threads=2 gc -q --prune=now
"$DEMO_GIT" count-objects -v | grep -E '^(count|in-pack|packs|garbage):'
"$DEMO_GIT" fsck --full --strict
"$DEMO_GIT" diff HEAD~8 HEAD | cksum
"$DEMO_GIT" status --short | wc -l
