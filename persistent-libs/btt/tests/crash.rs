//! Whatever a power cut leaves of the stores, every block holds what was acknowledged; the one that is being written holds
//! the old or the new content; and no block of the medium is lost or used twice.

use btt::{Btt, Config};
use crash_explorer::{Explorer, LineOrder, Recorder};
use pmem_core::persist::{Cpu, Persist};
use pool_format::{Mapping, Uuid};
use std::ptr::NonNull;

const BYTES: usize = 16 << 20;
/// Large, so that there are few.
const BLOCK: usize = 30_000;

fn blocks_in(base: *mut u8, memory: &'static dyn Persist) -> Result<Btt<Mapping>, String> {
    let base = NonNull::new(base).expect("a region");
    // SAFETY: regions of this test live longer than what lies in them.
    let mapping = unsafe { Mapping::borrowed(base, BYTES, memory) };
    let config = Config {
        start: 0,
        len: BYTES as u64,
        block_size: BLOCK as u32,
        parent_uuid: Uuid([7; 16]),
        is_zeroed: true,
        writable: true,
    };
    Btt::open(mapping, config).map_err(|error| error.to_string())
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Write(u64, u8),
    Zero(u64),
    Error(u64),
}

/// What a block holds: a byte, repeated, or an error.
type State = Vec<Option<u8>>;

fn apply(step: Step, state: &mut State) {
    match step {
        Step::Write(block, byte) => state[block as usize] = Some(byte),
        Step::Zero(block) => state[block as usize] = Some(0),
        Step::Error(block) => state[block as usize] = None,
    }
}

/// The blocks as they are, or what is wrong.
fn read(blocks: &Btt<Mapping>, count: u64) -> Result<State, String> {
    let mut buffer = vec![0; BLOCK];
    (0..count)
        .map(|block| match blocks.read(block, &mut buffer) {
            Ok(()) if buffer.iter().all(|&byte| byte == buffer[0]) => Ok(Some(buffer[0])),
            Ok(()) => Err(format!("block {block} is torn")),
            Err(error) if error.errno().name() == "EIO" => Ok(None),
            Err(error) => Err(error.to_string()),
        })
        .collect()
}

/// Which threads run the steps.
#[derive(Clone, Copy, PartialEq)]
enum Threads {
    /// This one: always the same lane.
    One,
    /// Another one for each step, and so another lane.
    Many,
}

/// Runs the steps, and shows images to the checker.
fn explore(threads: Threads, steps: &[Step], count: u64, images: usize) {
    for order in [LineOrder::Program, LineOrder::None] {
        let recorder: &'static Recorder = Box::leak(Box::new(Recorder::new(BYTES)));
        let mut states = vec![vec![Some(0); count as usize]];
        {
            let blocks = blocks_in(recorder.base(), recorder).expect("an empty namespace");
            for (number, &step) in (1..).zip(steps) {
                let done = std::thread::scope(|scope| {
                    let run = || match step {
                        Step::Write(block, byte) => blocks.write(block, &[byte; BLOCK]),
                        Step::Zero(block) => blocks.set_zero(block),
                        Step::Error(block) => blocks.set_error(block),
                    };
                    match threads {
                        Threads::One => run(),
                        Threads::Many => scope.spawn(run).join().expect("no panic"),
                    }
                });
                done.expect("room");
                recorder.mark(number);
                let mut state = states.last().expect("the first").clone();
                apply(step, &mut state);
                assert_eq!(read(&blocks, count), Ok(state.clone()));
                states.push(state);
            }
        }
        // SAFETY: the mappings that used it are gone.
        let recorder = *unsafe { Box::from_raw(core::ptr::from_ref(recorder).cast_mut()) };
        let trace = recorder.finish();
        assert_eq!(trace.not_durable(), [], "closing leaves nothing behind");
        let seen = Explorer::new().order(order).limit(images).explore(&trace, |crash| {
            let blocks = blocks_in(crash.image.as_mut_ptr(), Cpu::get())?;
            let done = crash.mark as usize;
            let found = read(&blocks, count)?;
            if found != states[done] && Some(&found) != states.get(done + 1) {
                return Err(format!("after step {done}: {found:?}, not {:?}", states[done]));
            }
            if !blocks.check().map_err(|error| error.to_string())? {
                return Err(format!("inconsistent after step {done}"));
            }
            // And it can be used: nothing that recovery left goes wrong later.
            for block in 0..count {
                blocks.write(block, &[200; BLOCK]).map_err(|error| error.to_string())?;
            }
            if read(&blocks, count)? != vec![Some(200); count as usize] {
                return Err("writes after recovery".into());
            }
            match blocks.check() {
                Ok(true) => Ok(()),
                other => Err(format!("check after writes: {other:?}")),
            }
        });
        let seen = seen.unwrap_or_else(|violation| panic!("{order:?}: {violation:?}"));
        assert!(seen.images > 3 * steps.len(), "{seen:?}");
    }
}

#[test]
fn a_block_written_through_many_lanes() {
    explore(Threads::Many, &(1..7).map(|byte| Step::Write(0, byte)).collect::<Vec<_>>(), 1, 12);
}

#[test]
fn neighbours_and_strangers() {
    use Step::Write;
    explore(
        Threads::Many,
        &[Write(0, 1), Write(1, 2), Write(0, 3), Write(2, 4), Write(1, 5), Write(0, 6)],
        3,
        12,
    );
}

#[test]
fn states_and_writes() {
    use Step::{Error, Write, Zero};
    explore(
        Threads::Many,
        &[Write(0, 1), Error(0), Write(0, 2), Zero(0), Zero(1), Error(1), Write(1, 3), Zero(1)],
        2,
        3,
    );
}

/// Each write waits for the map of the one before it in its lane, wherever that is.
#[test]
fn one_lane_all_over_the_map() {
    use Step::{Write, Zero};
    for threads in [Threads::One, Threads::Many] {
        explore(
            threads,
            &[Write(0, 1), Write(20, 2), Write(40, 3), Write(0, 4), Zero(20), Write(20, 5)],
            41,
            12,
        );
    }
}
