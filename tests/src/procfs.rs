//! Readers of `/proc` for other processes.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// One line of `/proc/PID/maps`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// First address.
    pub start: u64,
    /// Address after the last.
    pub end: u64,
    /// Permissions, such as `rw-s`.
    pub permissions: String,
    /// Path or label, empty for anonymous memory.
    pub name: String,
}

impl Mapping {
    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.end - self.start
    }

    /// Whether it has no bytes; the kernel shows no such mapping.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }
}

/// The mappings of process `pid`.
///
/// # Panics
///
/// When the process is gone or the text is not what the kernel documents.
#[must_use]
pub fn maps(pid: u32) -> Vec<Mapping> {
    let text = fs::read_to_string(format!("/proc/{pid}/maps")).expect("the process is gone");
    text.lines().map(parse_mapping).collect()
}

fn parse_mapping(line: &str) -> Mapping {
    let mut fields = line.splitn(6, ' ');
    let range = fields.next().expect("a range");
    let permissions = fields.next().expect("permissions").to_owned();
    let name = fields.nth(3).unwrap_or_default().trim_start().to_owned();
    let (start, end) = range.split_once('-').expect("start-end");
    let hex = |text| u64::from_str_radix(text, 16).expect("a hexadecimal address");
    Mapping { start: hex(start), end: hex(end), permissions, name }
}

/// The mappings of process `pid` that show files of `dir`.
#[must_use]
pub fn maps_of(pid: u32, dir: &Path) -> Vec<Mapping> {
    let prefix = format!("{}/", dir.display());
    maps(pid).into_iter().filter(|m| m.name.starts_with(&prefix)).collect()
}

/// The kernel's flags (`VmFlags`, as ` rd wr sh dd `) of the mappings that show files of `dir`.
#[must_use]
pub fn flags_of(pid: u32, dir: &Path) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap_or_default();
    let place = format!(" {}/", dir.display());
    let mut inside = false;
    let mut flags = Vec::new();
    for line in text.lines() {
        match line.strip_prefix("VmFlags:") {
            Some(found) if inside => flags.push(format!("{} ", found.trim_end())),
            Some(_) => {}
            // Lines of numbers start with a word and a colon, lines of mappings with addresses.
            None if !line.split(' ').next().is_some_and(|word| word.ends_with(':')) => {
                inside = line.contains(&place);
            }
            None => {}
        }
    }
    flags
}

/// Bytes of storage the deleted files of `dir` take that process `pid` holds open.
#[must_use]
pub fn storage_of(pid: u32, dir: &Path) -> u64 {
    descriptors(pid)
        .into_iter()
        .filter(|(_, target)| target.starts_with(dir))
        .filter_map(|(link, _)| Some(fs::metadata(link).ok()?.blocks() * 512))
        .sum()
}

/// The descriptors of process `pid`: the link under `/proc` and where it points.
#[must_use]
pub fn descriptors(pid: u32) -> Vec<(PathBuf, PathBuf)> {
    let Ok(folder) = fs::read_dir(format!("/proc/{pid}/fd")) else { return Vec::new() };
    folder
        .filter_map(|entry| {
            let link = entry.ok()?.path();
            let target = fs::read_link(&link).ok()?;
            Some((link, target))
        })
        .collect()
}

/// The value in KiB of a field of `/proc/PID/status`, such as `VmRSS`.
#[must_use]
pub fn status_kib(pid: u32, field: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find(|line| line.starts_with(&format!("{field}:")))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// How long a thread has waited for a processor so far; nothing where the kernel does not count.
#[must_use]
pub fn waited_for_cpu(tid: u32) -> Duration {
    let text = fs::read_to_string(format!("/proc/{tid}/schedstat")).unwrap_or_default();
    let nanoseconds = text.split_whitespace().nth(1).and_then(|number| number.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_maps_is_taken_apart() {
        let line = "7f00-8f00 rw-s 00000000 00:1a 12345                /dev/shm/a b (deleted)";
        assert_eq!(
            parse_mapping(line),
            Mapping {
                start: 0x7f00,
                end: 0x8f00,
                permissions: "rw-s".to_owned(),
                name: "/dev/shm/a b (deleted)".to_owned(),
            }
        );
        assert_eq!(parse_mapping("1000-2000 rw-p 00000000 00:00 0 ").name, "");
    }
}
