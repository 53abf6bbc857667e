//! What the figures were taken on: a number without this is no number.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// The machine, its software and the state of the sources.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Machine {
    /// Model name of the first processor.
    pub processor: String,
    /// Processors this process may use.
    pub processors: usize,
    /// Physical memory in bytes.
    pub memory_bytes: u64,
    /// Kernel release.
    pub kernel: String,
    /// C library of the measured programs.
    pub libc: String,
    /// Frequency governor, or "none" where the kernel has no say (virtual machines).
    pub governor: String,
    /// Mode of transparent huge pages for anonymous memory.
    pub huge_pages: String,
    /// Commit of the sources, with a plus sign when the tree was changed.
    pub commit: String,
    /// When the runs began, seconds since 1970.
    pub taken_at: u64,
}

fn first_line(path: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    text.lines().next().map(|line| line.trim().to_owned())
}

/// The value after the colon of the first line that starts with `key`.
fn field(text: &str, key: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with(key))?;
    line.split_once(':').map(|(_, value)| value.trim().to_owned())
}

/// The word in brackets, as the kernel marks a chosen mode.
fn chosen(modes: &str) -> &str {
    modes.split(['[', ']']).nth(1).unwrap_or(modes)
}

fn output_of(program: &str, arguments: &[&str], directory: &Path) -> Option<String> {
    let output = Command::new(program).args(arguments).current_dir(directory).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

fn commit(sources: &Path) -> String {
    let Some(commit) = output_of("git", &["rev-parse", "--short=12", "HEAD"], sources) else {
        return "unknown".to_owned();
    };
    match output_of("git", &["status", "--porcelain", "--untracked-files=no"], sources) {
        Some(changes) if changes.is_empty() => commit,
        _ => commit + "+",
    }
}

/// The version of the Rust compiler that builds in `sources`.
pub fn compiler(sources: &Path) -> String {
    output_of("rustc", &["--version"], sources).unwrap_or_else(|| "unknown".to_owned())
}

impl Machine {
    /// Looks around; what cannot be found out is "unknown".
    pub fn observe(sources: &Path) -> Self {
        let unknown = || "unknown".to_owned();
        let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let kib = field(&memory, "MemTotal").and_then(|text| text.split(' ').next()?.parse().ok());
        let huge_pages = first_line("/sys/kernel/mm/transparent_hugepage/enabled");
        Self {
            processor: field(&processor, "model name").unwrap_or_else(unknown),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: kib.unwrap_or(0_u64) * 1024,
            kernel: first_line("/proc/sys/kernel/osrelease").unwrap_or_else(unknown),
            libc: output_of("getconf", &["GNU_LIBC_VERSION"], sources).unwrap_or_else(unknown),
            governor: first_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
                .unwrap_or_else(|| "none".to_owned()),
            huge_pages: huge_pages.map_or_else(unknown, |modes| chosen(&modes).to_owned()),
            commit: commit(sources),
            taken_at: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs()),
        }
    }
}

impl Machine {
    /// All of it in one sentence, for the head of tables.
    pub fn line(&self) -> String {
        format!(
            "{}, {} processors, {} GiB, kernel {}, {}, governor {}, huge pages for anonymous memory: {}. Commit {}.",
            self.processor,
            self.processors,
            self.memory_bytes >> 30,
            self.kernel,
            self.libc,
            self.governor,
            self.huge_pages,
            self.commit
        )
    }
}

/// Type and options of the file system that holds `path`, for example "tmpfs (huge=never)".
pub fn medium(path: &Path) -> String {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    medium_in(&mounts, &path)
}

fn medium_in(mounts: &str, path: &Path) -> String {
    let mut best: Option<(usize, &str, &str)> = None;
    for line in mounts.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let [_, point, kind, options, ..] = fields[..] else {
            continue;
        };
        // A later mount over the same point hides the earlier one.
        if path.starts_with(point) && best.is_none_or(|(length, ..)| point.len() >= length) {
            best = Some((point.len(), kind, options));
        }
    }
    let Some((_, kind, options)) = best else {
        return "unknown".to_owned();
    };
    if kind != "tmpfs" {
        return kind.to_owned();
    }
    let huge =
        options.split(',').find(|option| option.starts_with("huge=")).unwrap_or("huge=never");
    format!("tmpfs ({huge})")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "/dev/vda / ext4 rw,relatime 0 0\n\
                          tmpfs /dev/shm tmpfs rw,nosuid 0 0\n\
                          pool /mnt/pool tmpfs rw,huge=advise,size=1G 0 0\n";

    #[test]
    fn the_medium_is_that_of_the_longest_mount_point() {
        assert_eq!(medium_in(MOUNTS, Path::new("/srv/data")), "ext4");
        assert_eq!(medium_in(MOUNTS, Path::new("/dev/shm/x")), "tmpfs (huge=never)");
        assert_eq!(medium_in(MOUNTS, Path::new("/mnt/pool")), "tmpfs (huge=advise)");
        assert_eq!(medium_in(MOUNTS, Path::new("/mnt/poolside")), "ext4");
    }

    #[test]
    fn the_chosen_mode_stands_in_brackets() {
        assert_eq!(chosen("always [madvise] never"), "madvise");
        assert_eq!(chosen("plain"), "plain");
    }

    #[test]
    fn fields_are_found_by_their_key() {
        assert_eq!(field("a\t: 1\nmodel name\t: X Y\n", "model name").as_deref(), Some("X Y"));
        assert_eq!(field("a: 1", "b"), None);
    }
}
