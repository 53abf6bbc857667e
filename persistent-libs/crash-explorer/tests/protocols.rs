//! Right protocols are accepted; each of some well-known mistakes is found.

use std::collections::BTreeSet;

use crash_explorer::{Crash, Event, Explorer, LineOrder, Recorder, Trace};
use pmem_core::persist::{CopyFlags, Persist};

/// A log: the number of entries in the first line, entries of 48 bytes in lines of their own.
const ENTRIES: usize = 3;
const ENTRY: usize = 48;

#[derive(Copy, Clone, PartialEq, Debug)]
enum Mistake {
    None,
    /// The entry is not flushed before it is counted.
    EntryNotFlushed,
    /// It is flushed, but nothing waits for that.
    NoFenceBetween,
    /// The number is reported durable without a flush.
    NumberNotFlushed,
    /// The entry is counted first.
    CountedFirst,
}

fn entry(number: usize) -> [u8; ENTRY] {
    [number as u8 + 1; ENTRY]
}

fn record(mistake: Mistake) -> Trace {
    let recorder = Recorder::new(64 * (ENTRIES + 1));
    let base = recorder.base();
    for number in 0..ENTRIES {
        let place = base.wrapping_add(64 * (number + 1));
        let flags = match mistake {
            Mistake::EntryNotFlushed => CopyFlags::NOFLUSH,
            Mistake::NoFenceBetween => CopyFlags::NODRAIN,
            _ => CopyFlags::NONE,
        };
        // SAFETY: inside the region.
        unsafe {
            if mistake == Mistake::CountedFirst {
                recorder.store_u64(base.cast(), number as u64 + 1);
            }
            recorder.copy(place, entry(number).as_ptr(), ENTRY, flags).unwrap();
            recorder.store_u64(base.cast(), number as u64 + 1);
            if mistake != Mistake::NumberNotFlushed {
                recorder.persist(base, 8).unwrap();
            }
        }
        recorder.mark(number as u64 + 1);
    }
    recorder.finish()
}

fn check(crash: Crash<'_>) -> Result<(), String> {
    let number = u64::from_le_bytes(crash.image[..8].try_into().unwrap());
    if number < crash.mark {
        return Err(format!("{number} entries, {} were reported", crash.mark));
    }
    for at in 0..number as usize {
        let start = 64 * (at + 1);
        if crash.image[start..start + ENTRY] != entry(at) {
            return Err(format!("entry {at} is counted and not whole"));
        }
    }
    Ok(())
}

#[test]
fn the_right_protocol_is_accepted() {
    for order in [LineOrder::Program, LineOrder::None] {
        let explored = Explorer::new().order(order).explore(&record(Mistake::None), check).unwrap();
        assert!(explored.all_states);
        assert!(explored.images > 64 * ENTRIES, "{explored:?}");
    }
}

#[test]
fn every_mistake_is_found() {
    let mistakes = [
        Mistake::EntryNotFlushed,
        Mistake::NoFenceBetween,
        Mistake::NumberNotFlushed,
        Mistake::CountedFirst,
    ];
    for mistake in mistakes {
        // With few images as well, and whatever the seed.
        for limit in [16, 512, 100_000] {
            for seed in 1..20 {
                let explorer = Explorer::new().limit(limit).seed(seed);
                let found = explorer.explore(&record(mistake), check);
                assert!(found.is_err(), "{mistake:?} with {limit} images, seed {seed}");
            }
        }
    }
    let trace = record(Mistake::NumberNotFlushed);
    assert_eq!(trace.not_durable(), [(0, 64)]);
    assert_eq!(record(Mistake::None).not_durable(), []);
}

/// Two stores to one line: the second without the first only where lines have no order.
#[test]
fn the_order_within_a_line_is_an_option() {
    let recorder = Recorder::new(64);
    let base: *mut u64 = recorder.base().cast();
    // SAFETY: inside the region.
    unsafe {
        recorder.store_u64(base, 1);
        recorder.store_u64(base.add(1), 2);
    }
    let trace = recorder.finish();
    let states = |order| {
        let mut states = BTreeSet::new();
        let explored = Explorer::new().order(order).explore(&trace, |crash| {
            states.insert((crash.image[0], crash.image[8]));
            Ok(())
        });
        assert!(explored.unwrap().all_states);
        states
    };
    assert_eq!(states(LineOrder::Program), BTreeSet::from([(0, 0), (1, 0), (1, 2)]));
    assert_eq!(states(LineOrder::None), BTreeSet::from([(0, 0), (1, 0), (0, 2), (1, 2)]));
}

/// A flush covers what was stored before it, not what comes after.
#[test]
fn a_flush_covers_what_came_before() {
    let recorder = Recorder::new(64);
    let base: *mut u64 = recorder.base().cast();
    // SAFETY: inside the region.
    unsafe {
        recorder.store_u64(base, 1);
        recorder.flush(base.cast(), 8).unwrap();
        recorder.store_u64(base, 2);
    }
    recorder.drain();
    let trace = recorder.finish();
    let mut last = BTreeSet::new();
    let end = trace.events.len();
    Explorer::new()
        .explore(&trace, |crash| {
            if crash.event == end {
                last.insert(crash.image[0]);
            }
            Ok(())
        })
        .unwrap();
    assert_eq!(last, BTreeSet::from([1, 2]));
}

/// Pieces of a copy arrive one by one, words as a whole.
#[test]
fn copies_are_torn_between_words() {
    let recorder = Recorder::new(64);
    // SAFETY: inside the region.
    unsafe { recorder.set(recorder.base().add(4), 0xff, 20, CopyFlags::NOFLUSH) }.unwrap();
    let trace = recorder.finish();
    assert_eq!(trace.events, [Event::Store { offset: 4, bytes: vec![0xff; 20] }]);
    let mut images = BTreeSet::new();
    Explorer::new()
        .explore(&trace, |crash| {
            let words = [&crash.image[4..8], &crash.image[8..16], &crash.image[16..24]];
            let whole = words.map(|word| word.iter().all(|&byte| byte == word[0]));
            assert_eq!(whole, [true; 3]);
            images.insert(crash.image[..24].to_vec());
            Ok(())
        })
        .unwrap();
    assert_eq!(images.len(), 8);
}

#[test]
#[should_panic(expected = "stored past the recorder")]
fn stores_past_the_recorder_are_noticed() {
    let recorder = Recorder::new(64);
    // SAFETY: inside the region.
    unsafe { recorder.base().add(9).write(1) };
    let _ = recorder.finish();
}

/// A long trace is sampled, the same way for the same seed.
#[test]
fn sampling_repeats() {
    let recorder = Recorder::new(64 * 40);
    // SAFETY: inside the region.
    unsafe { recorder.set(recorder.base(), 1, 64 * 40, CopyFlags::NONE) }.unwrap();
    let trace = recorder.finish();
    let sample = |seed| {
        let mut images = Vec::new();
        let explored = Explorer::new().seed(seed).explore(&trace, |crash| {
            images.push(crash.image.to_vec());
            Ok(())
        });
        assert!(!explored.unwrap().all_states);
        images
    };
    assert_eq!(sample(5), sample(5));
    assert_ne!(sample(5), sample(7));
}
