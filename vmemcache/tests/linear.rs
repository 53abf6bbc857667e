//! Linearizability: threads write down what they did and when, and for each key an order is searched in which one thread alone
//! could have done the same (Wing and Gong, 1993). An operation may take effect at any point between its call and its return.

mod support;

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, OnceLock, Weak};
use std::thread;
use std::time::Instant;
use support::{Random, check_stamped, stamped};
use vmemcache::policy::Kind;
use vmemcache::{Cache, Cause, Listener, Put, Value};

const THREADS: usize = 4;
const STEPS: usize = if cfg!(miri) { 60 } else { 5_000 };

/// What was asked, and the answer. Values are known by their stamps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Done {
    Put(u64, Put),
    PutIfAbsent(u64, bool),
    Replace(u64, bool),
    Remove(bool),
    Get(Option<u64>),
}

#[derive(Clone, Copy, Debug)]
struct Operation {
    called: u64,
    returned: u64,
    done: Done,
}

impl Done {
    /// The value after this, if it can happen to a key with the value `before`.
    fn apply(self, before: Option<u64>, evicts: bool) -> Option<Option<u64>> {
        let (fits, after) = match self {
            Done::Put(new, put) => ((put == Put::Inserted) == before.is_none(), Some(new)),
            Done::PutIfAbsent(new, true) => (before.is_none(), Some(new)),
            Done::PutIfAbsent(_, false) => (before.is_some(), before),
            // The old value may be evicted for the new one, and be missing in between.
            Done::Replace(new, true) => (before.is_some() || evicts, Some(new)),
            Done::Replace(_, false) => (before.is_none(), before),
            Done::Remove(was) => (was == before.is_some(), None),
            Done::Get(found) => (found == before, before),
        };
        fits.then_some(after)
    }
}

/// The operations on one key, of each thread in its order.
type History = Vec<Vec<Operation>>;

/// Whether there is an order. `evicts`: a value may vanish at any time by itself.
fn is_linearizable(history: &History, evicts: bool) -> bool {
    // How far each thread is, and the value then. As threads are sequential, this is all that matters.
    let start = (vec![0; history.len()], None);
    let mut seen = HashSet::from([start.clone()]);
    let mut open = vec![start];
    while let Some((at, value)) = open.pop() {
        let next = |thread: usize| history[thread].get(at[thread]);
        let heads = || (0..history.len()).filter_map(|thread| Some((thread, next(thread)?)));
        let Some(first_return) = heads().map(|(_, head)| head.returned).min() else { return true };
        for (thread, head) in heads().filter(|(_, head)| head.called <= first_return) {
            let before = [Some(value), (evicts && value.is_some()).then_some(None)];
            let befores = before.into_iter().flatten();
            for after in befores.filter_map(|before| head.done.apply(before, evicts)) {
                let mut at = at.clone();
                at[thread] += 1;
                if seen.insert((at.clone(), after)) {
                    open.push((at, after));
                }
            }
        }
    }
    false
}

struct Load {
    keys: u64,
    value_len: usize,
    evicts: bool,
}

/// Lets threads work on a few keys, and checks what they saw. Gives the share of operations that overlapped another's.
fn run(cache: &Cache, load: &Load, seed: u64) -> f64 {
    let start = Instant::now();
    let logs: Vec<BTreeMap<u64, Vec<Operation>>> = thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS as u64)
            .map(|thread| scope.spawn(move || work(cache, load, seed * 100 + thread, start)))
            .collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    cache.validate();
    let (mut overlapping, mut all) = (0, 0);
    for key in 0..load.keys {
        let history: History =
            logs.iter().map(|log| log.get(&key).cloned().unwrap_or_default()).collect();
        overlapping += overlaps(&history);
        all += history.iter().map(Vec::len).sum::<usize>();
        assert!(
            is_linearizable(&history, load.evicts),
            "seed {seed}: no order for key {key}; rerun with fewer steps to see a short history"
        );
    }
    overlapping as f64 / all as f64
}

/// Operations that began before one of another thread had ended.
fn overlaps(history: &History) -> usize {
    let mut all: Vec<_> = history.iter().flatten().collect();
    all.sort_by_key(|operation| operation.called);
    all.windows(2).filter(|pair| pair[1].called <= pair[0].returned).count()
}

fn work(cache: &Cache, load: &Load, seed: u64, start: Instant) -> BTreeMap<u64, Vec<Operation>> {
    let mut random = Random::new(seed + 1);
    let mut log: BTreeMap<u64, Vec<Operation>> = BTreeMap::new();
    let now = || start.elapsed().as_nanos() as u64;
    for step in 0..STEPS as u64 {
        let n = random.below(load.keys);
        let key = n.to_le_bytes();
        let stamp = seed << 32 | step;
        let value = stamped(stamp, load.value_len);
        let choice = random.below(16);
        let called = now();
        let done = match choice {
            0..3 => Done::Put(stamp, cache.put(&key, &value).unwrap()),
            3..5 => Done::PutIfAbsent(stamp, cache.put_if_absent(&key, &value).unwrap()),
            5..7 => Done::Replace(stamp, cache.replace(&key, &value).unwrap()),
            7..10 => Done::Remove(cache.remove(&key)),
            // Also while it is read, the value stays as it was when it was found.
            _ => match cache.get(&key) {
                None => Done::Get(None),
                Some(found) => Done::Get(Some(check_stamped(&found.to_cow()))),
            },
        };
        let returned = now();
        log.entry(n).or_default().push(Operation { called, returned, done });
        // Others come and go, so that tokens and blocks are used again and the index grows.
        let other = (1 << 40 | seed << 20 | random.below(2000)).to_le_bytes();
        match random.below(8) {
            0 => _ = cache.put(&other, &value[..40]).unwrap(),
            1 => _ = cache.remove(&other),
            2 if load.evicts => _ = cache.evict_next(),
            _ => {}
        }
    }
    log
}

#[test]
fn a_cache_with_room_is_a_map() {
    let load = Load { keys: 3, value_len: 100, evicts: false };
    for (seed, &kind) in Kind::ALL.iter().enumerate() {
        let cache = Cache::builder().size(8 << 20).policy(kind).anonymous().unwrap();
        let overlap = run(&cache, &load, seed as u64);
        println!("{kind}: {:.1} % of the operations overlapped", overlap * 100.0);
        assert_eq!(cache.stats().left(Cause::Capacity), 0);
        assert!(overlap > 0.0, "the threads met");
    }
}

/// Values that are copied without the lock.
#[test]
fn long_values_are_no_exception() {
    let load = Load { keys: 2, value_len: 20_000, evicts: false };
    for (seed, exact) in [(20, true), (21, false)] {
        let cache = Cache::builder().size(16 << 20).exact_space(exact).anonymous().unwrap();
        assert!(run(&cache, &load, seed) > 0.0, "the threads met");
        assert_eq!(cache.stats().left(Cause::Capacity), 0);
    }
}

#[test]
fn a_full_cache_only_forgets() {
    for (seed, &kind) in Kind::ALL.iter().enumerate() {
        let load = Load { keys: 12, value_len: 9000, evicts: true };
        let cache = Cache::builder().size(64 << 10).policy(kind).anonymous().unwrap();
        assert!(run(&cache, &load, 40 + seed as u64) > 0.0, "the threads met");
        assert!(cache.stats().left(Cause::Capacity) > 0);
    }
}

/// Removes one entry when another is about to leave.
#[derive(Default)]
struct Rival(OnceLock<Weak<Cache>>);

impl Listener for Rival {
    fn on_evict(&self, _: &[u8], _: &Value<'_>, cause: Cause) {
        if cause == Cause::Capacity
            && let Some(cache) = self.0.get().and_then(Weak::upgrade)
        {
            cache.remove(b"wanted");
        }
    }
}

#[test]
fn what_is_removed_while_room_is_made_is_not_replaced() {
    let rival = Arc::new(Rival::default());
    let builder = Cache::builder().size(64 << 10).policy(Kind::Lru).listener(rival.clone());
    let cache = Arc::new(builder.anonymous().unwrap());
    cache.put(b"other", &[1; 30_000]).unwrap();
    cache.put(b"wanted", &[2; 10_000]).unwrap();
    rival.0.set(Arc::downgrade(&cache)).unwrap();
    assert!(!cache.replace(b"wanted", &[3; 40_000]).unwrap());
    assert!(!cache.contains(b"wanted"));
}

#[test]
fn what_leaves_for_its_own_replacement_is_replaced() {
    for tell in [false, true] {
        let mut builder = Cache::builder().size(64 << 10).policy(Kind::Lru);
        if tell {
            builder = builder.listener(Arc::new(Rival::default()));
        }
        let cache = builder.anonymous().unwrap();
        cache.put(b"wanted", &[2; 40_000]).unwrap();
        assert!(cache.replace(b"wanted", &[3; 41_000]).unwrap());
        assert_eq!(cache.get(b"wanted").unwrap().to_vec(), [3; 41_000]);
    }
}

fn operation(called: u64, returned: u64, done: Done) -> Operation {
    Operation { called, returned, done }
}

#[test]
fn the_search_accepts_what_has_an_order() {
    let history = vec![
        vec![operation(0, 10, Done::Put(1, Put::Inserted)), operation(20, 30, Done::Remove(true))],
        // The first sees the put that has not returned; the second overlaps the removal.
        vec![operation(5, 6, Done::Get(Some(1))), operation(25, 40, Done::Get(Some(1)))],
        vec![operation(22, 50, Done::Put(2, Put::Replaced)), operation(60, 61, Done::Get(None))],
    ];
    assert!(is_linearizable(&history, false));
}

#[test]
fn the_search_refuses_what_has_none() {
    let put = operation(0, 1, Done::Put(1, Put::Inserted));
    let second = operation(2, 3, Done::Put(2, Put::Replaced));
    let bad: [(&str, History); 5] = [
        ("an old value", vec![vec![put, second], vec![operation(4, 5, Done::Get(Some(1)))]]),
        (
            "back and forth",
            vec![
                vec![put, operation(2, 9, Done::Put(2, Put::Replaced))],
                vec![operation(3, 4, Done::Get(Some(2))), operation(5, 6, Done::Get(Some(1)))],
            ],
        ),
        (
            "from nowhere",
            vec![vec![operation(0, 1, Done::Get(Some(1)))], vec![operation(2, 3, put.done)]],
        ),
        (
            "two removals of one value",
            vec![
                vec![put, operation(2, 5, Done::Remove(true))],
                vec![operation(2, 5, Done::Remove(true))],
            ],
        ),
        (
            "a replacement after the removal",
            vec![
                vec![
                    put,
                    operation(2, 9, Done::Replace(2, true)),
                    operation(10, 11, Done::Get(Some(2))),
                ],
                vec![operation(3, 4, Done::Remove(true)), operation(5, 6, Done::Get(None))],
            ],
        ),
    ];
    for (what, history) in bad {
        assert!(!is_linearizable(&history, false), "{what}");
    }
}

#[test]
fn vanishing_is_allowed_only_where_it_is_said() {
    let put = operation(0, 1, Done::Put(1, Put::Inserted));
    let lost = vec![vec![put, operation(2, 3, Done::Get(None))]];
    assert!(is_linearizable(&lost, true) && !is_linearizable(&lost, false));
    // But what has vanished does not come back.
    let back =
        vec![vec![put, operation(2, 3, Done::Get(None)), operation(4, 5, Done::Get(Some(1)))]];
    assert!(!is_linearizable(&back, true));
}
