use super::*;
use std::collections::HashMap;

fn hash(n: u64) -> u64 {
    (n + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29).wrapping_mul(0xD6E8_FEB8_6659_FD93)
}

#[test]
fn entries_come_and_go() {
    let max: u32 = if cfg!(miri) { 60 } else { 20_000 };
    let index = Index::new(max).unwrap();
    let mut uppers: HashMap<u32, Key32> = HashMap::new();
    let find = |n: u32| index.find(Key32::new(hash(n.into())), |token| (token == n).then_some(()));
    for n in 0..max {
        if index.is_full(uppers.len() as u32) {
            index.grow(uppers.len() as u64 * 6 / 5 + 1, |token| {
                uppers.get(&token).map(|key| key.upper())
            });
        }
        let key = Key32::new(hash(n.into()));
        uppers.insert(n, key);
        index.insert(key, n);
        if n % 3 == 0 {
            let gone = n / 2;
            assert_eq!(
                index.remove(Key32::new(hash(gone.into())), gone),
                uppers.remove(&gone).is_some()
            );
        }
    }
    for n in 0..max {
        assert_eq!(find(n).is_some(), uppers.contains_key(&n), "{n}");
    }
    let full = uppers.len() as u64;
    assert!(index.memory() <= full * 9 + 256, "{} bytes for {full}", index.memory());
    for (n, key) in uppers {
        assert!(index.remove(key, n));
    }
    let state = index.state.load(Relaxed);
    for bucket in index.table(state) {
        assert!((0..3).all(|word| bucket.word(word) == 0), "empty and passed by nobody");
    }
}

#[test]
fn equal_hashes_fill_many_buckets() {
    let index = Index::new(200).unwrap();
    index.grow(200, |_| None);
    let key = Key32::new(!0);
    for n in 0..100 {
        index.insert(key, n);
    }
    assert_eq!(index.find(key, |token| (token == 99).then_some(token)), Some(99));
    let mut seen = 0;
    assert_eq!(
        index.find(key, |_| -> Option<()> {
            seen += 1;
            None
        }),
        None
    );
    assert_eq!(seen, 100);
}

/// At its fullest, after many entries came and went.
#[test]
#[cfg_attr(miri, ignore = "long")]
fn searches_for_what_is_not_there_are_short() {
    let index = Index::new(20_000).unwrap();
    index.grow(17_000, |_| None);
    let mut live = std::collections::VecDeque::new();
    let mut next = 0u32;
    while !index.is_full(live.len() as u32) {
        index.insert(Key32::new(hash(next.into())), next);
        live.push_back(next);
        next += 1;
    }
    let mut random = 1u64;
    for _ in 0..200_000 {
        random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let at = (random >> 33) as usize % live.len();
        let gone = live.swap_remove_back(at).unwrap();
        assert!(index.remove(Key32::new(hash(gone.into())), gone));
        index.insert(Key32::new(hash(next.into())), next);
        live.push_back(next);
        next += 1;
    }
    let (mut seen, mut searches) = (0, 0);
    let state = index.state.load(Relaxed);
    let buckets = state & !AREA;
    for n in 0..100_000u64 {
        let key = Key32::new(hash(n + (1 << 40)));
        let mut at = key.home(buckets);
        let mut steps = 1;
        while index.table(state)[at].passed(steps - 1) {
            at = key.next(buckets, at, steps);
            steps += 1;
        }
        seen += steps as u32;
        searches += 1;
    }
    let mean = f64::from(seen) / f64::from(searches);
    println!("{mean:.2} buckets, {:.1} % full", live.len() as f64 * 10.0 / buckets as f64);
    assert!(mean < 3.0);
}
