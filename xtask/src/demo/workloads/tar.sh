# A tree into a compressed archive and back.
set -eu
rm -rf unpacked archive.tgz
for round in 1 2 3; do
    "$DEMO_TAR" --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 -cf - input | "$DEMO_GZIP" -n -6 >archive.tgz
    cksum archive.tgz
done
mkdir unpacked
"$DEMO_GZIP" -dc archive.tgz | "$DEMO_TAR" -xf - -C unpacked
"$DEMO_TAR" -tzf archive.tgz | wc -l
(cd unpacked && find input -type f | LC_ALL=C sort | xargs cat | cksum)
