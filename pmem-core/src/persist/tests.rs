use super::*;
use std::vec::Vec;

/// All lengths and offsets around the sizes at which the engine changes its ways.
fn lengths() -> Vec<usize> {
    if cfg!(miri) {
        return std::vec![0, 1, 7, 8, 9, 64, 72];
    }
    let mut lengths: Vec<usize> = (0..=200).collect();
    for middle in [255, 256, 320, 511, 512, 768, 1024, 1535, 4096, 5000] {
        lengths.extend(middle - 1..=middle + 1);
    }
    lengths
}

fn flag_sets() -> Vec<CopyFlags> {
    if cfg!(miri) {
        return std::vec![CopyFlags::NONE];
    }
    let mut sets: Vec<CopyFlags> = (0..6).map(|bit| CopyFlags::from_bits(1 << bit)).collect();
    sets.push(CopyFlags::NONE);
    sets.push(CopyFlags::NOFLUSH | CopyFlags::NONTEMPORAL);
    sets.push(CopyFlags::NODRAIN | CopyFlags::NONTEMPORAL);
    sets
}

fn offsets() -> &'static [usize] {
    if cfg!(miri) { &[0, 1, 8, 57] } else { &[0, 1, 7, 8, 9, 24, 31, 56, 57, 60, 63] }
}

const AREA: usize = if cfg!(miri) { 512 } else { 12 << 10 };

#[repr(C, align(64))]
struct Area([u8; AREA]);

fn pattern() -> std::boxed::Box<Area> {
    let mut area = std::boxed::Box::new(Area([0; AREA]));
    for (i, byte) in area.0.iter_mut().enumerate() {
        *byte = (i * 7 + (i >> 8) * 13) as u8;
    }
    area
}

/// An engine for each kind of stores that this machine has.
fn engines() -> Vec<Engine> {
    let default = Options { threshold: 300, ..Options::default() };
    let variants = [
        default.clone(),
        Options { movdir64b: true, ..default.clone() },
        Options { avx512: false, write_combining_fences: Some(true), ..default.clone() },
        Options { avx512: false, avx: false, clwb: false, ..default.clone() },
        Options { non_temporal: false, clwb: false, clflushopt: false, ..default.clone() },
        Options { non_temporal: false, c_library: true, ..default },
    ];
    let mut engines: Vec<Engine> = variants.iter().map(Engine::new).collect();
    engines.dedup();
    engines
}

fn check_area(area: &Area, fresh: &Area, to: usize, len: usize, expected: &[u8], case: &str) {
    assert!(area.0[to..to + len] == *expected, "{case}");
    assert!(area.0[..to] == fresh.0[..to], "before: {case}");
    let end = to + len;
    assert!(area.0[end..end + 128] == fresh.0[end..end + 128], "behind: {case}");
}

#[test]
fn copies_what_memmove_copies() {
    let fresh = pattern();
    let mut area = pattern();
    for engine in engines() {
        for len in lengths() {
            for &to in offsets() {
                // Far apart, or overlapping in either direction.
                for from in [AREA / 2, to + 8, to + 70, to.saturating_sub(8), to.saturating_sub(3)]
                {
                    for flags in flag_sets() {
                        area.0.copy_from_slice(&fresh.0);
                        let base = area.0.as_mut_ptr();
                        // SAFETY: both ranges lie in the area.
                        unsafe {
                            copy::copy(&engine, base.add(to), base.add(from), len, flags, true);
                        }
                        let expected = &fresh.0[from..from + len];
                        let case = std::format!("{len} bytes from {from} to {to}, {flags:?}");
                        check_area(&area, &fresh, to, len, expected, &case);
                    }
                }
            }
        }
    }
}

#[test]
fn sets_what_memset_sets() {
    let fresh = pattern();
    let mut area = pattern();
    for engine in engines() {
        for len in lengths() {
            for &to in offsets() {
                for flags in flag_sets() {
                    area.0.copy_from_slice(&fresh.0);
                    // SAFETY: the range lies in the area.
                    unsafe {
                        let dest = area.0.as_mut_ptr().add(to);
                        copy::set(&engine, dest, 0xa5, len, flags, true);
                    }
                    let case = std::format!("{len} bytes at {to}, {flags:?}");
                    check_area(&area, &fresh, to, len, &std::vec![0xa5; len], &case);
                }
            }
        }
    }
}

/// Long enough for several blocks between flushes.
#[test]
#[cfg_attr(miri, ignore = "takes long, and shows nothing that short copies do not")]
fn long_copies_overlap() {
    const LEN: usize = 200 << 10;
    let fresh: Vec<u8> = (0..LEN + (64 << 10)).map(|i| (i * 31 + (i >> 9)) as u8).collect();
    for engine in engines() {
        for flags in [CopyFlags::NONE, CopyFlags::TEMPORAL, CopyFlags::NOFLUSH] {
            for (to, from) in [(0, 40), (40, 0), (0, 33_000), (33_000, 0), (13, 5000), (5000, 13)] {
                let mut area = fresh.clone();
                let base = area.as_mut_ptr();
                // SAFETY: both ranges lie in the area.
                unsafe { copy::copy(&engine, base.add(to), base.add(from), LEN, flags, true) };
                let mut expected = fresh.clone();
                expected.copy_within(from..from + LEN, to);
                assert!(area == expected, "{from} to {to}, {flags:?}, {engine:?}");
            }
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no msync")]
fn page_sync_reports_what_is_not_mapped() {
    let len = 4 * crate::sys::page_size();
    let start = crate::sys::map_anonymous(len).unwrap().as_ptr();
    // SAFETY: mapped above.
    unsafe { PageSync.set(start.add(100), 7, 5000, CopyFlags::NONE) }.unwrap();
    // SAFETY: written above.
    assert_eq!(unsafe { start.add(5099).read() }, 7);
    let ranges = [
        Range::new(start.wrapping_add(1), 10),
        Range::new(start.wrapping_add(4096), 1),
        Range::new(start.wrapping_add(12288), 0),
        Range::new(start.wrapping_add(12290), 1),
    ];
    // SAFETY: mapped above.
    assert_eq!(unsafe { PageSync.persist_ranges(&ranges) }, Ok(()));
    let address = core::ptr::NonNull::new(start).unwrap();
    // SAFETY: mapped above, used no more.
    unsafe { crate::sys::unmap(address, len) }.unwrap();
    // SAFETY: msync reports it; no other thread of this test maps anything that fits meanwhile.
    assert_eq!(unsafe { PageSync.flush(start, len) }, Err(Errno::ENOMEM));
}

#[test]
fn words_are_stored() {
    let mut word = 0;
    // SAFETY: an aligned local.
    unsafe { Cpu::get().store_u64(&raw mut word, 9) };
    assert_eq!(word, 9);
    // SAFETY: as above.
    unsafe { Cpu::get().persist((&raw const word).cast(), 8) }.unwrap();
}
