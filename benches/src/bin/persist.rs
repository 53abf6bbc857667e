//! Copies of two builds of libpmem against each other, in one process and by turns.
//!
//! usage: `persist OURS REFERENCE [DIRECTORY]`: paths of shared objects; a directory on tmpfs or DAX
//!
//! For each length and alignment the two take turns (A B B A) over the same memory; the ratio of a round
//! is that of its times, and what is shown is the median of all rounds: above 1 means that OURS is faster.
//! "walk" moves on through 256 MiB, "stay" writes the same place again and again. The column "plain" is
//! OURS against memcpy or memset of the C library and `pmem_persist` of REFERENCE.

use std::env;
use std::ffi::{CString, c_int, c_void};
use std::process::ExitCode;

type Copy = unsafe extern "C" fn(*mut c_void, *const c_void, usize) -> *mut c_void;
type Set = unsafe extern "C" fn(*mut c_void, c_int, usize) -> *mut c_void;
type Persist = unsafe extern "C" fn(*const c_void, usize);
type MapFile = unsafe extern "C" fn(
    *const libc::c_char,
    usize,
    c_int,
    libc::mode_t,
    *mut usize,
    *mut c_int,
) -> *mut c_void;

const AREA: usize = 256 << 20;
const SOURCE: usize = 32 << 20;
const ROUNDS: usize = 15;

struct Library {
    memcpy: Copy,
    memmove: Copy,
    memset: Set,
    persist: Persist,
    map_file: MapFile,
}

impl Library {
    fn load(path: &str) -> Result<Library, String> {
        let name = CString::new(path).map_err(|_| "a path with a 0".to_owned())?;
        // SAFETY: a C string; the library runs its constructor.
        let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        if handle.is_null() {
            return Err(format!("{path} cannot be loaded"));
        }
        let find = |name: &str| {
            let symbol = CString::new(name).unwrap_or_default();
            // SAFETY: the library stays loaded.
            let address = unsafe { libc::dlsym(handle, symbol.as_ptr()) };
            if address.is_null() { Err(format!("{path} has no {name}")) } else { Ok(address) }
        };
        // SAFETY: these are the signatures of the C interface.
        unsafe {
            Ok(Library {
                memcpy: std::mem::transmute::<*mut c_void, Copy>(find("pmem_memcpy_persist")?),
                memmove: std::mem::transmute::<*mut c_void, Copy>(find("pmem_memmove_persist")?),
                memset: std::mem::transmute::<*mut c_void, Set>(find("pmem_memset_persist")?),
                persist: std::mem::transmute::<*mut c_void, Persist>(find("pmem_persist")?),
                map_file: std::mem::transmute::<*mut c_void, MapFile>(find("pmem_map_file")?),
            })
        }
    }
}

#[derive(Copy, Clone, Debug, PartialEq)]
enum Operation {
    Memcpy,
    Memmove,
    Memset,
}

/// Time of the processor that this thread has had, in nanoseconds: others who want it do not count.
fn thread_ns() -> f64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is writable.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut now) };
    now.tv_sec as f64 * 1e9 + now.tv_nsec as f64
}

/// What one measurement does.
struct Case {
    operation: Operation,
    len: usize,
    aligned: bool,
    walks: bool,
}

struct Memory {
    dest: *mut u8,
    source: *const u8,
}

impl Case {
    fn calls(&self) -> usize {
        ((1 << 20) / self.len).clamp(2, 2000)
    }

    /// Nanoseconds per call of `step`, which gets a destination and a source.
    fn time(
        &self,
        memory: &Memory,
        from: &mut usize,
        mut step: impl FnMut(*mut c_void, *const c_void),
    ) -> f64 {
        let (to_shift, from_shift) = if self.aligned { (0, 0) } else { (3, 5) };
        let calls = self.calls();
        let start = thread_ns();
        for _ in 0..calls {
            let dest = memory.dest.wrapping_add(*from + to_shift);
            let source = memory.source.wrapping_add(*from % (SOURCE / 2) + from_shift);
            step(dest.cast(), source.cast());
            if self.walks {
                *from += self.len.next_multiple_of(64) + if self.aligned { 0 } else { 64 };
                if *from + self.len + 128 > AREA {
                    *from = 0;
                }
            }
        }
        (thread_ns() - start) / calls as f64
    }

    fn run(&self, library: &Library, memory: &Memory, from: &mut usize) -> f64 {
        let len = self.len;
        self.time(memory, from, |dest, source| {
            // SAFETY: inside the areas.
            unsafe {
                match self.operation {
                    Operation::Memcpy => (library.memcpy)(dest, source, len),
                    Operation::Memmove => (library.memmove)(dest, source, len),
                    Operation::Memset => (library.memset)(dest, 5, len),
                };
            }
        })
    }

    fn run_plain(&self, library: &Library, memory: &Memory, from: &mut usize) -> f64 {
        let len = self.len;
        self.time(memory, from, |dest, source| {
            // SAFETY: inside the areas.
            unsafe {
                match self.operation {
                    Operation::Memcpy => libc::memcpy(dest, source, len),
                    Operation::Memmove => libc::memmove(dest, source, len),
                    Operation::Memset => libc::memset(dest, 5, len),
                };
                (library.persist)(dest, len);
            }
        })
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

struct Result3 {
    ns: f64,
    against_reference: f64,
    against_plain: f64,
}

fn measure(case: &Case, ours: &Library, reference: &Library, memory: &Memory) -> Result3 {
    let (mut times, mut ratios, mut plain_ratios) = (Vec::new(), Vec::new(), Vec::new());
    let mut from = 0;
    for round in 0..=ROUNDS {
        let first = case.run(ours, memory, &mut from);
        let second = case.run(reference, memory, &mut from);
        let third = case.run(reference, memory, &mut from);
        let fourth = case.run(ours, memory, &mut from);
        // The first round touches the memory.
        if round > 0 {
            let own = (first + fourth) / 2.0;
            times.push(own);
            ratios.push((second + third) / 2.0 / own);
        }
    }
    // By itself: it leaves the lines in the cache, which slows down whoever stores past it next.
    let own = median(&mut times);
    for round in 0..=ROUNDS / 2 {
        let plain = case.run_plain(reference, memory, &mut from);
        if round > 0 {
            plain_ratios.push(plain / own);
        }
    }
    Result3 {
        ns: median(&mut times),
        against_reference: median(&mut ratios),
        against_plain: median(&mut plain_ratios),
    }
}

fn run() -> std::result::Result<(), String> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let (Some(ours), Some(reference)) = (arguments.first(), arguments.get(1)) else {
        return Err("usage: persist OURS REFERENCE [DIRECTORY]".into());
    };
    let directory = arguments.get(2).map_or("/dev/shm", String::as_str);
    // SAFETY: no other thread yet.
    unsafe { env::set_var("PMEM_IS_PMEM_FORCE", "1") };
    let (ours, reference) = (Library::load(ours)?, Library::load(reference)?);
    let path = CString::new(directory).map_err(|_| "a path with a 0".to_owned())?;
    // PMEM_FILE_CREATE and PMEM_FILE_TMPFILE.
    // SAFETY: a C string; the results are not wanted.
    let dest = unsafe {
        (reference.map_file)(
            path.as_ptr(),
            AREA,
            9,
            0o600,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
        )
    };
    if dest.is_null() {
        return Err(format!("no file of {AREA} bytes in {directory}"));
    }
    let source = vec![7u8; SOURCE + 4096];
    let source_start = source.as_ptr().wrapping_add(source.as_ptr().addr().wrapping_neg() & 63);
    let memory = Memory { dest: dest.cast(), source: source_start };
    println!("| operation | place | aligned | bytes | ns | x reference | x plain |");
    println!("|---|---|---|---|---|---|---|");
    let (mut all, mut all_plain) = (Vec::new(), Vec::new());
    for operation in [Operation::Memcpy, Operation::Memmove, Operation::Memset] {
        for walks in [true, false] {
            for aligned in [true, false] {
                for power in 6..=24 {
                    let case = Case { operation, len: 1 << power, aligned, walks };
                    let result = measure(&case, &ours, &reference, &memory);
                    let place = if walks { "walk" } else { "stay" };
                    println!(
                        "| {operation:?} | {place} | {aligned} | {} | {:.0} | {:.2} | {:.2} |",
                        case.len, result.ns, result.against_reference, result.against_plain
                    );
                    all.push(result.against_reference);
                    all_plain.push(result.against_plain);
                }
            }
        }
    }
    for (name, ratios) in [("reference", &mut all), ("plain", &mut all_plain)] {
        let mean = (ratios.iter().map(|ratio| ratio.ln()).sum::<f64>() / ratios.len() as f64).exp();
        ratios.sort_by(f64::total_cmp);
        println!(
            "against {name}: geometric mean {mean:.3}, lowest {:.2}, lowest tenth {:.2}, below 0.95: {} of {}",
            ratios[0],
            ratios[ratios.len() / 10],
            ratios.iter().filter(|&&ratio| ratio < 0.95).count(),
            ratios.len()
        );
    }
    Ok(())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("{text}");
            ExitCode::FAILURE
        }
    }
}
