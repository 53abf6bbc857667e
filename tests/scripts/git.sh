# Commits with fixed dates, so that every object name is the same in every run.
set -e
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null
export GIT_AUTHOR_NAME=A GIT_AUTHOR_EMAIL=a@example.org GIT_COMMITTER_NAME=C GIT_COMMITTER_EMAIL=c@example.org
git init -q -b main one
cd one
for i in 1 2 3 4 5 6; do
    for j in 1 2 3 4 5; do seq $i $((i * j * 100)) > file$j; done
    git add .
    GIT_AUTHOR_DATE="2020-01-0$i 00:00 +0000" GIT_COMMITTER_DATE="2020-01-0$i 00:00 +0000" git commit -q -m "commit $i"
done
git checkout -q -b side HEAD~3
echo side > other && git add other
GIT_AUTHOR_DATE="2020-02-01 00:00 +0000" GIT_COMMITTER_DATE="2020-02-01 00:00 +0000" git commit -q -m side
git checkout -q main
GIT_AUTHOR_DATE="2020-02-02 00:00 +0000" GIT_COMMITTER_DATE="2020-02-02 00:00 +0000" git merge -q -m merge side
git log --oneline --graph --stat
git diff HEAD~2 -- file3 | tail -5
git blame -s file2 | tail -3
git gc -q --prune=now
git fsck --full --strict
cd ..
git clone -q --no-local one two
cd two
git rev-parse HEAD
git grep -c '^100$' HEAD~1
git archive HEAD | cksum
