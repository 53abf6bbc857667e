//! Power cuts on XFS. Nothing on this machine takes an XFS image apart, so another virtual machine puts one image after
//! the other on its NVDIMM, mounts it with DAX, which recovers the log of XFS, and opens the pool there.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use pmem_e2e::run::run;
use pmem_e2e::scratch::Scratch;

use crate::{Run, can_boot, dax_vm, program};

/// The smallest that XFS likes.
const DEVICES: [&str; 2] = ["--fsdax", "xfs:320M"];
/// What precedes the file system in an image, and follows it.
const LABELS: u64 = 2 << 20;
const PAGE: u64 = 4096;
/// The commits of a run, roughly; some hundred.
const COMMITS: usize = 420;
/// For the boot of the second machine and each image: on a busy machine ten times as long as on an idle one.
const BOOT: u64 = 120;
const EACH: u64 = 30;

/// Reads lines of `IMAGE FROM:TO:COUNT...` (runs of pages that are not zero) and says for each image what is in it.
const CHECK: &str = r#"
cd /; umount "$DAXVM_PMEM0" || exit 1
while read -r image runs; do
    blkdiscard -fz "$DAXVM_BLK0" || exit 1
    for run in $runs; do
        IFS=: read -r from to count <<<"$run"
        dd if="$image" of="$DAXVM_BLK0" bs=4096 skip="$from" seek="$to" count="$count" \
            conv=notrunc status=none || exit 1
    done
    mount -t xfs -o dax=always "$DAXVM_BLK0" "$DAXVM_PMEM0" || { echo "not mounted"; continue; }
    acks=none pool=none
    [ ! -e "$DAXVM_PMEM0/acks" ] || acks=$("$program" log-verify-any "$DAXVM_PMEM0/acks") ||
        { echo "$image: acks: $acks"; exit 1; }
    if [ -e "$DAXVM_PMEM0/pool" ]; then
        if [ "$kind" = log ]; then
            pool=$("$program" log-verify-any "$DAXVM_PMEM0/pool")
        else
            pool=$("$program" blk-check "$DAXVM_PMEM0/pool" &&
                "$program" blk-verify-any "$DAXVM_PMEM0/pool" "${acks/none/0}") && pool=$acks
        fi || { echo "$image: $acks operations, pool: $pool"; exit 1; }
    fi
    echo "$acks $pool"
    umount "$DAXVM_PMEM0" || exit 1
done <"$list"
echo "recovered $(dmesg | grep -c 'XFS.*Starting recovery')"
"#;

/// How many cuts for each kind of pool and cache: a handful, or what `PMEM_TEST_CUTS` says.
fn rounds() -> usize {
    let text = std::env::var("PMEM_TEST_CUTS").ok();
    text.map_or(6, |text| text.parse().expect("PMEM_TEST_CUTS is a number"))
}

/// The runs of an image that are not holes, as `CHECK` wants them.
fn runs(image: &Path) -> io::Result<String> {
    let file = File::open(image)?;
    let end = file.metadata()?.size() - LABELS;
    let seek = |from: u64, what| {
        // SAFETY: no memory is involved.
        let at = unsafe { libc::lseek(file.as_raw_fd(), from as libc::off_t, what) };
        u64::try_from(at).unwrap_or(end).min(end)
    };
    let (mut text, mut at) = (String::new(), LABELS);
    loop {
        let from = seek(at, libc::SEEK_DATA);
        if from == end {
            return Ok(text);
        }
        at = seek(from, libc::SEEK_HOLE);
        let first = from / PAGE;
        text += &format!(" {first}:{}:{}", first - LABELS / PAGE, at.div_ceil(PAGE) - first);
    }
}

fn cuts(kind: &str, cache: &str) {
    if !can_boot() {
        return;
    }
    let rounds = rounds();
    let scratch = Scratch::new("power-xfs");
    let images = Run {
        kind,
        pool: "$DAXVM_PMEM0/pool",
        operations: 100,
        devices: &DEVICES,
        cache,
        every: COMMITS / rounds,
        most: rounds,
    }
    .images(scratch.path());
    assert!(images.len() >= rounds * 3 / 4, "{} images of {rounds}", images.len());
    let lines = images.iter().map(|image| {
        format!("{}{}\n", image.display(), runs(image).expect("an image that can be read"))
    });
    let list = scratch.path().join("list");
    fs::write(&list, lines.collect::<String>()).expect("the list");

    let limit = BOOT + EACH * images.len() as u64;
    let mut command = dax_vm(&["run", "--accel", "tcg", "--cpus", "1"]);
    command.args(["--timeout", &limit.to_string()]);
    command.args(DEVICES).arg("--env").arg(format!("list={}", list.display()));
    command.arg("--env").arg(format!("program={}", program().display()));
    command.args(["--env", &format!("kind={kind}"), "--", "bash", "-c", CHECK]);
    let outcome = run(&mut command, Duration::from_secs(limit + BOOT));
    assert!(outcome.code() == Some(0), "{}", outcome.ending());
    let out = outcome.out();
    let (said, recovered) = out.trim_end().rsplit_once('\n').expect("a line for each image");
    let said: Vec<&str> = said.lines().collect();
    assert_eq!(said.len(), images.len(), "{out}");
    // Half a sector may be durable when the processor wrote back half of it, and XFS trusts whole sectors. That is the risk of
    // a file system on bare persistent memory, and no pool's.
    let torn = said.iter().filter(|said| **said == "not mounted").count();
    let most = if cache == "lose" { 0 } else { images.len() / 3 };
    assert!(torn <= most, "{torn} of {} file systems cannot be mounted\n{out}", images.len());
    let mut last = None;
    for (image, said) in images.iter().zip(said).filter(|(_, said)| *said != "not mounted") {
        let (acks, pool) = said.split_once(' ').expect("two words");
        let story = format!("{}: {said}", image.display());
        let number = |text: &str| text.parse::<u32>().ok();
        let acknowledged = number(acks);
        // What was durable stays so; a pool that has acknowledged something exists.
        assert!(acknowledged >= last, "{story} after {last:?}");
        assert!(acknowledged.unwrap_or(0) == 0 || number(pool).is_some(), "{story}");
        if let ("log", Some(found)) = (kind, number(pool)) {
            let least = acknowledged.unwrap_or(0);
            assert!(found == least || found == least + 1, "{story}");
        }
        last = acknowledged;
    }
    println!(
        "{kind}, {cache}: {} cuts, {torn} file systems lost, the last after {last:?} operations; {recovered}",
        images.len()
    );
    assert!(last > Some(20), "the run went on: {last:?}");
    let recovered: usize =
        recovered.split(' ').next_back().and_then(|n| n.parse().ok()).unwrap_or(0);
    assert!(
        recovered >= (images.len() - torn) / 2,
        "XFS had to recover its log only {recovered} times"
    );
}

#[test]
fn logs_on_xfs() {
    cuts("log", "lose");
}

#[test]
fn blocks_on_xfs() {
    cuts("blk", "lose");
}

/// Lines that were not flushed may be durable all the same.
#[test]
fn logs_on_xfs_when_some_lines_were_written_back() {
    cuts("log", "random:7");
}

#[test]
fn blocks_on_xfs_when_some_lines_were_written_back() {
    cuts("blk", "random:11");
}
