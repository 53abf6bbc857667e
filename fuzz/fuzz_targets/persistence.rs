//! Persistence: texts of sysfs and of variables, copies against `memmove`, and the register of mappings
//! against a naive one.
#![no_main]

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use pmem::registry::{Entry, Registry};
use pmem::{Backing, CopyFlags, Cpu, Granularity, Persist, parse_granularity};
use pmem_core::nvdimm::bad_ranges;
use pmem_core::persist::integer;

#[derive(Arbitrary, Debug)]
enum Step<'t> {
    Text(&'t [u8]),
    Copy { to: u16, from: u16, len: u16, flags: u32 },
    Set { to: u16, len: u16, byte: u8, flags: u32 },
    Insert { start: u8, len: u8 },
    Replace { start: u8, len: u8 },
    Cut { start: u8, len: u8 },
    Ask { start: u8, len: u8 },
}

const AREA: usize = 8192;

/// Which entry, by its number, covers each address.
type Model = [Option<usize>; 512];

fn entry(start: u8, len: u8, number: usize) -> Entry {
    Entry {
        start: usize::from(start),
        len: usize::from(len),
        granularity: Granularity::Page,
        backing: Backing::File,
        token: number,
    }
}

fn read(text: &[u8]) {
    for bad in bad_ranges(text) {
        assert!(bad.len > 0 && bad.offset.checked_add(bad.len).is_some());
    }
    let _ = (integer(text), parse_granularity(text));
}

fuzz_target!(|steps: Vec<Step<'_>>| {
    let mut area: Vec<u8> = (0..AREA).map(|i| (i * 7 + i / 256) as u8).collect();
    let mut expected = area.clone();
    let registry = Registry::new();
    let mut model: Model = [None; 512];
    for (number, step) in steps.iter().enumerate() {
        match *step {
            Step::Text(text) => read(text),
            Step::Copy { to, from, len, flags } => {
                let (to, from) = (usize::from(to) % AREA, usize::from(from) % AREA);
                let len = usize::from(len) % (AREA - to.max(from));
                expected.copy_within(from..from + len, to);
                let base = area.as_mut_ptr();
                let flags = CopyFlags::from_bits(flags);
                // SAFETY: both ranges lie in the area.
                unsafe { Cpu::get().copy(base.add(to), base.add(from), len, flags) }.unwrap();
                assert!(area == expected, "{step:?}");
            }
            Step::Set { to, len, byte, flags } => {
                let to = usize::from(to) % AREA;
                let len = usize::from(len) % (AREA - to);
                expected[to..to + len].fill(byte);
                let flags = CopyFlags::from_bits(flags);
                // SAFETY: the range lies in the area.
                unsafe { Cpu::get().set(area.as_mut_ptr().add(to), byte, len, flags) }.unwrap();
                assert!(area == expected, "{step:?}");
            }
            Step::Insert { start, len } if len > 0 => {
                let range = usize::from(start)..usize::from(start) + usize::from(len);
                let free = model[range.clone()].iter().all(Option::is_none);
                assert_eq!(registry.insert(entry(start, len, number)), free, "{step:?}");
                if free {
                    model[range].fill(Some(number));
                }
            }
            Step::Replace { start, len } if len > 0 => {
                registry.replace(entry(start, len, number));
                model[usize::from(start)..][..usize::from(len)].fill(Some(number));
            }
            Step::Cut { start, len } => {
                registry.cut(usize::from(start), usize::from(len));
                model[usize::from(start)..][..usize::from(len)].fill(None);
            }
            Step::Ask { start, len } => {
                let range = &model[usize::from(start)..][..usize::from(len)];
                let (start, len) = (usize::from(start), usize::from(len));
                let covered = len != 0 && range.iter().all(Option::is_some);
                assert_eq!(registry.covers(start, len), covered, "{step:?}");
                let token = |found: Option<Entry>| found.map(|entry| entry.token);
                assert_eq!(
                    token(registry.first_in(start, len)),
                    range.iter().find_map(|number| *number)
                );
                assert_eq!(
                    token(registry.last_in(start, len)),
                    range.iter().rev().find_map(|number| *number)
                );
            }
            Step::Insert { .. } | Step::Replace { .. } => {}
        }
    }
});
