//! Keeping hold of everything a child starts.
//!
//! Children stay in the terminal's process group, so that an interrupt from the keyboard ends them too. What they
//! leave behind comes to this process instead of init, and can be found and ended.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::time::Duration;

/// Makes this process the parent of every orphan below it.
///
/// # Errors
/// Those of `prctl(2)`.
pub(crate) fn adopt_orphans() -> io::Result<()> {
    // SAFETY: an integer option of the calling process.
    if unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Kills every process below this one and returns the names of those it found. Adopted ones are not waited for.
pub(crate) fn kill_descendants() -> Vec<String> {
    let mut names = Vec::new();
    // A process can start another while the list is read; a second look finds that.
    for _ in 0..10 {
        let found = descendants();
        if found.is_empty() {
            break;
        }
        for (pid, name) in found {
            // SAFETY: a signal to a process that was below this one a moment ago; as long as this one does not wait
            // for it, its number is not used again for a child of ours.
            unsafe { libc::kill(pid, libc::SIGKILL) };
            names.push(name);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    names.sort();
    names.dedup();
    names
}

/// Living processes below this one, with their names.
fn descendants() -> Vec<(i32, String)> {
    let mut children: HashMap<i32, Vec<(i32, String)>> = HashMap::new();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    for pid in entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()) {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        if let Some((name, state, parent)) = parse_stat(&stat)
            && state != 'Z'
        {
            children.entry(parent).or_default().push((pid, name.to_owned()));
        }
    }
    let mut below = children.remove(&(std::process::id() as i32)).unwrap_or_default();
    let mut next = 0;
    while next < below.len() {
        let grandchildren = children.remove(&below[next].0).unwrap_or_default();
        below.extend(grandchildren);
        next += 1;
    }
    below
}

/// Name, state and parent out of `/proc/PID/stat`; the name may contain spaces and parentheses.
fn parse_stat(stat: &str) -> Option<(&str, char, i32)> {
    let (start, end) = (stat.find('(')?, stat.rfind(')')?);
    let mut rest = stat.get(end + 1..)?.split_whitespace();
    let state = rest.next()?.chars().next()?;
    Some((stat.get(start + 1..end)?, state, rest.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_lines_are_read_with_odd_names() {
        assert_eq!(parse_stat("12 (sh) S 7 12 12 0"), Some(("sh", 'S', 7)));
        assert_eq!(parse_stat("12 (a) b (c)) R 1 2"), Some(("a) b (c)", 'R', 1)));
        assert_eq!(parse_stat(""), None);
    }

    #[test]
    fn children_are_seen() {
        let mut child = std::process::Command::new("sleep").arg("30").spawn().unwrap();
        let pid = child.id() as i32;
        assert!(descendants().iter().any(|(found, _)| *found == pid));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!descendants().iter().any(|(found, _)| *found == pid));
    }
}
