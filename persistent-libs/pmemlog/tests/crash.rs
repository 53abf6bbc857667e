//! Whatever a power cut leaves of the stores, the log holds every append that was acknowledged, and the one under way
//! as a whole or not at all.

use crash_explorer::{Explorer, LineOrder, Recorder};
use pmem_core::persist::{Cpu, Persist};
use pmemlog::PmemLog;
use pool_format::log::{DESCRIPTOR_OFFSET, LogDescriptor};
use pool_format::{Mapping, Pool};
use std::io::IoSlice;
use std::ptr::NonNull;
use zerocopy::IntoBytes;

const BYTES: usize = 64 << 10;

/// The log in a region of memory.
fn log_in(base: *mut u8, memory: &'static dyn Persist) -> Result<PmemLog, String> {
    let base = NonNull::new(base).expect("a region");
    // SAFETY: regions of this test live longer than the logs in them.
    let mapping = unsafe { Mapping::borrowed(base, BYTES, memory) };
    PmemLog::load(Pool::over(mapping)).map_err(|error| error.to_string())
}

enum Step {
    Append(Vec<u8>),
    Vectored(Vec<Vec<u8>>),
    Rewind,
}

/// Runs the steps, and shows all images to the checker.
fn explore(steps: &[Step]) {
    for order in [LineOrder::Program, LineOrder::None] {
        let recorder: &'static Recorder = Box::leak(Box::new(Recorder::new(BYTES)));
        let mut states = vec![Vec::new()];
        {
            let descriptor = LogDescriptor::empty(BYTES as u64);
            let base = NonNull::new(recorder.base()).expect("a region");
            // SAFETY: the recorder lives longer.
            let mapping = unsafe { Mapping::borrowed(base, BYTES, recorder) };
            mapping.write(DESCRIPTOR_OFFSET, descriptor.as_bytes()).expect("no msync");
            recorder.mark(1);
            let log = log_in(recorder.base(), recorder).expect("an empty log");
            for (number, step) in (2..).zip(steps) {
                let mut state = states.last().expect("the first").clone();
                match step {
                    Step::Append(bytes) => {
                        log.append(bytes).expect("room");
                        state.extend_from_slice(bytes);
                    }
                    Step::Vectored(pieces) => {
                        let slices: Vec<_> =
                            pieces.iter().map(|piece| IoSlice::new(piece)).collect();
                        log.append_vectored(&slices).expect("room");
                        state.extend(pieces.iter().flatten());
                    }
                    Step::Rewind => {
                        log.rewind().expect("writable");
                        state.clear();
                    }
                }
                assert_eq!(*log.contents(), *state);
                states.push(state);
                recorder.mark(number);
            }
        }
        // SAFETY: the mappings that used it are gone.
        let recorder = *unsafe { Box::from_raw(core::ptr::from_ref(recorder).cast_mut()) };
        let trace = recorder.finish();
        assert_eq!(trace.not_durable(), [], "what was acknowledged is durable");
        let seen = Explorer::new().order(order).explore(&trace, |crash| {
            if crash.mark == 0 {
                return Ok(()); // the descriptor is being written
            }
            let log = log_in(crash.image.as_mut_ptr(), Cpu::get())?;
            let contents = log.contents();
            let done = crash.mark as usize - 1;
            let old = *contents == *states[done];
            if old || states.get(done + 1).is_some_and(|next| *contents == **next) {
                return Ok(());
            }
            Err(format!("{} bytes after step {done}", contents.len()))
        });
        let seen = seen.unwrap_or_else(|violation| panic!("{order:?}: {violation:?}"));
        assert!(seen.images > 2 * steps.len(), "{seen:?}");
    }
}

#[test]
fn appends_are_atomic() {
    let sizes = [1, 64, 8, 3, 200, 4096, 63, 300, 0, 1000];
    let steps: Vec<Step> = (1..).zip(sizes).map(|(n, size)| Step::Append(vec![n; size])).collect();
    explore(&steps);
}

#[test]
fn vectors_are_atomic() {
    let vector =
        |n: u8, sizes: &[usize]| Step::Vectored(sizes.iter().map(|&size| vec![n; size]).collect());
    explore(&[
        vector(1, &[5; 16]),
        vector(2, &[64; 16]),
        vector(3, &[0, 3000, 1, 5000, 7]),
        Step::Append(vec![4; 10]),
        vector(5, &[]),
    ]);
}

#[test]
fn rewinds_are_atomic() {
    explore(&[
        Step::Append(vec![1; 100]),
        Step::Rewind,
        Step::Append(vec![2; 50]),
        Step::Append(vec![3; 70]),
        Step::Rewind,
        Step::Rewind,
    ]);
}
