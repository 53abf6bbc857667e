//! Hit ratios of the policies: what they were when they were found good must not get lost.

use vmemcache::policy::Kind;
use vmemcache_bench::load::Load;
use vmemcache_bench::simulate::simulate;
use vmemcache_bench::trace::{Format, Trace};

fn percent(trace: &Trace, kind: Kind, capacity: u64) -> f64 {
    simulate(trace, kind, capacity, 1).hit_percent()
}

fn made(load: &str, requests: usize) -> Trace {
    let load: Load = load.parse().expect("a load");
    load.requests(Some(requests), 1, None).expect("made loads cannot fail")
}

/// On loads of very different kinds the adaptive policy is nowhere worse than LRU, by more than half a point, and where
/// another policy is much better than LRU, it gets most of that.
#[test]
fn the_adaptive_policy_is_nowhere_worse_than_lru() {
    // Load, entries, and hits in per cent that must be reached.
    for (load, capacity, at_least) in [
        ("zipf:0.9:100000", 10_000, 64.5),
        ("zipf:1.2:100000", 1_000, 83.0),
        ("scan:0.9:50000", 10_000, 33.2),
        ("uniform:20000", 10_000, 0.0),
        ("loop:11000", 10_000, 75.0),
        ("loop:20000", 10_000, 28.0),
        ("loop:9000", 10_000, 98.0),
        ("pairs:5000", 10_000, 49.0),
        ("pairs:9000", 10_000, 49.0),
        ("shift:0.9:20000", 2_500, 65.0),
        ("shift:0.9:20000", 15_000, 88.7),
        ("shift:1.1:50000", 10_000, 86.6),
    ] {
        let trace = made(load, 600_000);
        let lru = percent(&trace, Kind::Lru, capacity);
        let adaptive = percent(&trace, Kind::Adaptive, capacity);
        assert!(adaptive > lru - 0.5, "{load} {capacity}: LRU {lru:.2}, adaptive {adaptive:.2}");
        assert!(adaptive > at_least, "{load} {capacity}: adaptive {adaptive:.2} < {at_least}");
    }
}

/// A third of the requests are hits for whoever keeps an entry for one more request.
#[test]
fn short_intervals_are_hits() {
    let keys = (0..600_000u64).map(|i| if i % 3 == 2 { 1 << 40 | i } else { i / 3 % 400_000 });
    let trace = Trace::of_keys(keys);
    for &kind in Kind::ALL {
        let percent = percent(&trace, kind, 10_000);
        assert!((33.3..34.0).contains(&percent), "{kind}: {percent:.2}");
    }
}

/// LRU is exact, so its hits are those that stack distances say.
#[test]
fn lru_hits_what_stack_distances_say() {
    let trace = made("zipf:0.8:2000", 30_000);
    let mut stack: Vec<u32> = Vec::new();
    let mut distances = Vec::new();
    for request in &trace.requests {
        let found = stack.iter().rposition(|&key| key == request.key);
        if let Some(at) = found {
            distances.push(stack.len() - at);
            stack.remove(at);
        }
        stack.push(request.key);
    }
    for capacity in [1, 10, 100, 1000] {
        let expected = distances.iter().filter(|&&d| d <= capacity).count() as u64;
        assert_eq!(simulate(&trace, Kind::Lru, capacity as u64, 1).hits, expected);
    }
}

/// Keys spread over shards get hits almost as in one part, if a shard holds a few thousand entries.
#[test]
fn shards_cost_little() {
    let trace = made("zipf:0.9:200000", 400_000);
    for &kind in Kind::ALL {
        let one = simulate(&trace, kind, 32_768, 1).hit_percent();
        let sixteen = simulate(&trace, kind, 32_768, 16).hit_percent();
        assert!(sixteen > one - 0.5, "{kind}: {one:.2} in one part, {sixteen:.2} in sixteen");
    }
}

/// Figures for published traces: hits in per cent of LRU, exactly, and of the best of a dozen policies of the literature
/// (all but those that know the future), from which the adaptive one may be half a point away.
const PUBLISHED: &[(&str, u64, f64, f64)] = &[
    ("arc/OLTP.lis.zst", 1_000, 32.83, 40.86),
    ("arc/OLTP.lis.zst", 4_000, 50.96, 53.33),
    ("arc/OLTP.lis.zst", 16_000, 65.22, 66.45),
    ("arc/P3.lis.zst", 8_192, 1.62, 4.85),
    ("arc/P3.lis.zst", 65_536, 12.72, 32.48),
    ("cache2k/web12.trace.xz", 500, 55.78, 60.77),
    ("cache2k/web12.trace.xz", 2_000, 72.56, 75.39),
    ("cache2k/orm-busy.trace.xz", 2_000, 81.39, 82.32),
    ("cache2k/orm-busy.trace.xz", 10_000, 89.49, 90.54),
    ("cache2k/orm-night.trace.xz", 2_000, 69.77, 76.19),
    ("cache2k/orm-night.trace.xz", 10_000, 94.06, 94.66),
];

/// Needs the traces: `PMEM_TRACES` names their folder. Without it nothing is checked here.
#[test]
fn published_traces() {
    let Some(folder) = std::env::var_os("PMEM_TRACES") else {
        // Past the harness, which shows no output of tests that pass.
        let text =
            "\nNOT CHECKED: published_traces: PMEM_TRACES does not name a folder of traces\n";
        let _ = std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes());
        return;
    };
    let mut current: Option<(&str, Trace)> = None;
    for &(file, capacity, lru, best) in PUBLISHED {
        if current.as_ref().is_none_or(|(name, _)| *name != file) {
            let path = std::path::Path::new(&folder).join(file);
            let trace = Trace::read(&path, Format::of(&path), usize::MAX);
            current = Some((file, trace.expect("PMEM_TRACES names a folder with the traces")));
        }
        let trace = &current.as_ref().expect("just read").1;
        let exact = percent(trace, Kind::Lru, capacity);
        assert!((exact - lru).abs() < 0.01, "{file} {capacity}: LRU {exact:.2}, not {lru}");
        let adaptive = percent(trace, Kind::Adaptive, capacity);
        assert!(adaptive > best - 0.5, "{file} {capacity}: adaptive {adaptive:.2}, best {best}");
        assert!(adaptive > lru - 0.5, "{file} {capacity}: adaptive {adaptive:.2}, LRU {lru}");
    }
}
