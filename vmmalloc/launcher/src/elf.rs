//! Just enough of ELF to know what a preload does to a program: its class and machine, whether it has a dynamic
//! loader at all, and whether it brings a `malloc` of its own. Reads through the file, never all of it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

const CLASS_64: u8 = 2;
const LITTLE_ENDIAN: u8 = 1;
const TYPE_DYN: u16 = 3;
const SEGMENT_INTERP: u32 = 3;
const SECTION_DYNSYM: u32 = 11;
const SYMBOL_BYTES: usize = 24;
/// Larger tables are not read: no program we know comes near.
const TABLE_LIMIT_BYTES: u64 = 256 << 20;

/// `e_machine` of the programs this launcher's library can be loaded into.
#[cfg(target_arch = "x86_64")]
pub(crate) const OUR_MACHINE: u16 = 62;
/// `e_machine` of the programs this launcher's library can be loaded into.
#[cfg(target_arch = "aarch64")]
pub(crate) const OUR_MACHINE: u16 = 183;

/// What matters of an ELF file.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub(crate) struct Elf {
    /// 64-bit, little-endian and of this machine.
    pub(crate) native: bool,
    /// A shared object or position-independent executable.
    pub(crate) shared: bool,
    /// Names a dynamic loader (`PT_INTERP`).
    pub(crate) has_loader: bool,
    /// Defines `malloc` for others to use.
    pub(crate) defines_malloc: bool,
}

/// Reads the ELF file at `path`; `None` when it is something else.
///
/// # Errors
/// The file cannot be opened or read, or its headers point outside of it.
pub(crate) fn read(path: &Path) -> io::Result<Option<Elf>> {
    let file = File::open(path)?;
    let mut header = [0u8; 64];
    let got = read_up_to(&file, &mut header)?;
    if got < 20 || header[..4] != *b"\x7fELF" {
        return Ok(None);
    }
    let native =
        header[4] == CLASS_64 && header[5] == LITTLE_ENDIAN && u16_at(&header, 18) == OUR_MACHINE;
    let mut elf = Elf {
        native,
        shared: u16_at(&header, 16) == TYPE_DYN,
        has_loader: false,
        defines_malloc: false,
    };
    if !native {
        return Ok(Some(elf));
    }
    if got < header.len() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let segments = table(&file, u64_at(&header, 32), u16_at(&header, 54), u16_at(&header, 56))?;
    elf.has_loader = segments
        .chunks_exact(usize::from(u16_at(&header, 54)).max(1))
        .any(|segment| segment.len() >= 4 && u32_at(segment, 0) == SEGMENT_INTERP);
    // Section headers may be stripped; then nothing is known of the symbols, which is fine for a warning.
    let sections = table(&file, u64_at(&header, 40), u16_at(&header, 58), u16_at(&header, 60))?;
    elf.defines_malloc = defines(&file, &sections, usize::from(u16_at(&header, 58)), b"malloc")?;
    Ok(Some(elf))
}

/// True when the dynamic symbol table described by `sections` defines `name`.
fn defines(file: &File, sections: &[u8], entry: usize, name: &[u8]) -> io::Result<bool> {
    if entry < 64 {
        return Ok(false);
    }
    let sections: Vec<&[u8]> = sections.chunks_exact(entry).collect();
    for section in sections.iter().filter(|section| u32_at(section, 4) == SECTION_DYNSYM) {
        let Some(strings) = sections.get(u32_at(section, 40) as usize) else {
            continue;
        };
        let symbols = bytes(file, u64_at(section, 24), u64_at(section, 32))?;
        let strings = bytes(file, u64_at(strings, 24), u64_at(strings, 32))?;
        let found = symbols.chunks_exact(SYMBOL_BYTES).any(|symbol| {
            let defined = u16_at(symbol, 6) != 0;
            defined
                && strings
                    .get(u32_at(symbol, 0) as usize..)
                    .and_then(|rest| rest.strip_prefix(name))
                    .is_some_and(|rest| rest.first() == Some(&0))
        });
        if found {
            return Ok(true);
        }
    }
    Ok(false)
}

fn table(file: &File, offset: u64, entry_bytes: u16, entries: u16) -> io::Result<Vec<u8>> {
    bytes(file, offset, u64::from(entry_bytes) * u64::from(entries))
}

fn bytes(file: &File, offset: u64, len: u64) -> io::Result<Vec<u8>> {
    if len > TABLE_LIMIT_BYTES || len > file.metadata()?.len() {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut buffer = vec![0; usize::try_from(len).map_err(|_| io::ErrorKind::InvalidData)?];
    file.read_exact_at(&mut buffer, offset)?;
    Ok(buffer)
}

fn read_up_to(file: &File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut got = 0;
    while got < buffer.len() {
        match file.read_at(&mut buffer[got..], got as u64) {
            Ok(0) => break,
            Ok(n) => got += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(got)
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn scratch(name: &str, content: &[u8]) -> PathBuf {
        let path = std::env::temp_dir().join(format!("vmmalloc-elf-{}-{name}", std::process::id()));
        std::fs::write(&path, content).unwrap();
        path
    }

    fn read_scratch(name: &str, content: &[u8]) -> io::Result<Option<Elf>> {
        let path = scratch(name, content);
        let answer = read(&path);
        std::fs::remove_file(path).unwrap();
        answer
    }

    /// A 64-byte ELF header with one program header of the given type behind it.
    fn image(machine: u16, segment: u32) -> Vec<u8> {
        let mut image = vec![0u8; 64 + 56];
        image[..8].copy_from_slice(b"\x7fELF\x02\x01\x01\0");
        image[16] = 2;
        image[18..20].copy_from_slice(&machine.to_le_bytes());
        image[32] = 64;
        image[54] = 56;
        image[56] = 1;
        image[64..68].copy_from_slice(&segment.to_le_bytes());
        image
    }

    #[test]
    fn the_test_binary_is_native_and_dynamic() {
        let elf = read(&std::env::current_exe().unwrap()).unwrap().unwrap();
        assert!(elf.native && elf.has_loader && !elf.defines_malloc);
    }

    #[test]
    fn a_file_without_a_loader_is_seen() {
        let elf = read_scratch("static", &image(OUR_MACHINE, 1)).unwrap().unwrap();
        assert_eq!((elf.native, elf.shared, elf.has_loader), (true, false, false));
        let elf = read_scratch("dynamic", &image(OUR_MACHINE, SEGMENT_INTERP)).unwrap().unwrap();
        assert!(elf.has_loader);
    }

    #[test]
    fn another_machine_is_not_native() {
        assert!(!read_scratch("other", &image(2, 1)).unwrap().unwrap().native);
    }

    #[test]
    fn scripts_and_stubs_are_not_elf() {
        assert_eq!(read_scratch("script", b"#!/bin/sh\necho hello, hello, hello\n").unwrap(), None);
        assert_eq!(read_scratch("short", b"\x7fELF").unwrap(), None);
    }

    #[test]
    fn a_broken_file_is_an_error_and_no_crash() {
        let mut cut = image(OUR_MACHINE, 1);
        cut.truncate(80);
        assert!(read_scratch("cut", &cut).is_err());
        let mut wild = image(OUR_MACHINE, 1);
        wild[32..40].fill(0xff);
        assert!(read_scratch("wild", &wild).is_err());
    }

    #[test]
    fn a_library_that_defines_malloc_is_seen() {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let libc = maps.lines().filter_map(|line| line.split_whitespace().nth(5));
        let libc =
            libc.into_iter().find(|path| path.contains("/libc.so") || path.contains("/libc-"));
        let elf = read(Path::new(libc.expect("libc is mapped"))).unwrap().unwrap();
        assert!(elf.shared && elf.defines_malloc);
    }
}
