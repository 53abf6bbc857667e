//! The grammar of pool set files.
//!
//! ```text
//! set     = "PMEMPOOLSET" EOL *line
//! line    = comment | empty | part | replica | option
//! part    = [blanks] SIZE blanks ABSOLUTE_PATH
//! replica = "REPLICA" [blanks [user@]host blanks RELATIVE_DESCRIPTOR]
//! option  = "OPTION" blanks NAME *(blanks NAME)
//! ```

use super::{POOL_SET_SIGNATURE, PartSize, PartSpec, PoolSet, ReplicaSpec};
use crate::{Error, Result};
use pmem_core::errno::Errno;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

const FIRST_LINE: &str = "the first line must be exactly 'PMEMPOOLSET'";
const REPLICA: &str = "exactly 'REPLICA' expected";
const NO_PARTS: &str = "no pool set parts";
const NO_REPLICA_PARTS: &str = "no replica parts";
const SIZE: &str = "incorrect format of size";
const PATH: &str = "incorrect path (must be an absolute one)";
const DESCRIPTOR: &str = "incorrect descriptor (must be a relative path)";
const TOKEN: &str = "invalid token found in the current line";
const UNKNOWN_OPTION: &str = "unknown option";
const NO_OPTION: &str = "missing option name";
const REMOTE: &str = "remote replicas are not supported";
const REMOTE_TOKENS: &str = "address of remote node and descriptor of remote pool set expected";
const NO_HEADERS: &str = "the NOHDRS poolset option is not supported for local poolsets";

pub(super) fn parse(text: &[u8], path: &Path) -> Result<PoolSet> {
    let error =
        |line, text| Err(Error::Syntax { text, path: path.into(), line, errno: errno(text) });
    let mut lines = lines(text);
    // Without an end the first line is not one.
    if lines.next() != Some(POOL_SET_SIGNATURE) || !text.contains(&b'\n') {
        return error(1, FIRST_LINE);
    }
    let mut set = PoolSet { replicas: vec![ReplicaSpec::default()], single_header: false };
    let mut end = 2;
    for (line, text) in (2..).zip(lines) {
        end = line + 1;
        if let Err(text) = parse_line(text, &mut set) {
            return error(line, text);
        }
    }
    match set.replicas.last() {
        Some(replica) if !replica.parts.is_empty() => Ok(set),
        _ if set.replicas.len() > 1 => error(end, NO_REPLICA_PARTS),
        _ => error(end, NO_PARTS),
    }
}

fn errno(text: &str) -> Errno {
    if text == REMOTE { Errno::ENOTSUP } else { Errno::EINVAL }
}

/// Lines without their ends; what follows the last end is no line when it is empty.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    text.split(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line))
}

fn parse_line(line: &[u8], set: &mut PoolSet) -> core::result::Result<(), &'static str> {
    let line = line.split(|&byte| byte == b'#').next().unwrap_or(line);
    if line.is_empty() {
        return Ok(());
    }
    if let Some(rest) = line.strip_prefix(b"REPLICA") {
        return replica(rest, set);
    }
    if let Some(rest) = line.strip_prefix(b"OPTION") {
        // As PMDK does, also without a blank behind the word.
        return options(blank_separated(rest), set);
    }
    let mut tokens = blank_separated(line);
    let (Some(size), Some(path), None) = (tokens.next(), tokens.next(), tokens.next()) else {
        return Err(TOKEN);
    };
    let size = parse_size(size)?;
    if path.first() != Some(&b'/') {
        return Err(PATH);
    }
    let part = PartSpec { size, path: OsStr::from_bytes(path).into() };
    set.replicas.last_mut().ok_or(NO_PARTS)?.parts.push(part);
    Ok(())
}

fn blank_separated(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| b" \t".contains(byte)).filter(|token| !token.is_empty())
}

/// `rest` is what follows the word.
fn replica(rest: &[u8], set: &mut PoolSet) -> core::result::Result<(), &'static str> {
    if set.replicas.last().is_none_or(|replica| replica.parts.is_empty()) {
        return Err(if set.replicas.len() > 1 { NO_REPLICA_PARTS } else { NO_PARTS });
    }
    match rest.first() {
        None => {
            set.replicas.push(ReplicaSpec::default());
            return Ok(());
        }
        Some(b' ' | b'\t') => {}
        Some(_) => return Err(REPLICA),
    }
    let mut tokens = blank_separated(rest);
    match (tokens.next(), tokens.next(), tokens.next()) {
        (Some(_), Some(descriptor), None) if descriptor.first() == Some(&b'/') => Err(DESCRIPTOR),
        (Some(_), Some(_), None) => Err(REMOTE),
        _ => Err(REMOTE_TOKENS),
    }
}

fn options<'t>(
    tokens: impl Iterator<Item = &'t [u8]>,
    set: &mut PoolSet,
) -> core::result::Result<(), &'static str> {
    let mut any = false;
    for token in tokens {
        any = true;
        match token {
            b"SINGLEHDR" => set.single_header = true,
            b"NOHDRS" => return Err(NO_HEADERS),
            _ => return Err(UNKNOWN_OPTION),
        }
    }
    if any { Ok(()) } else { Err(NO_OPTION) }
}

/// Suffixes are case-sensitive; K, M, G, T, P are powers of 1024.
fn parse_size(token: &[u8]) -> core::result::Result<PartSize, &'static str> {
    if token == b"AUTO" {
        return Ok(PartSize::Auto);
    }
    let digits = token.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, suffix) = token.split_at(digits);
    let factor: u64 = match suffix {
        b"" | b"B" => 1,
        b"K" | b"KiB" => 1 << 10,
        b"M" | b"MiB" => 1 << 20,
        b"G" | b"GiB" => 1 << 30,
        b"T" | b"TiB" => 1 << 40,
        b"P" | b"PiB" => 1 << 50,
        b"kB" => 1000,
        b"MB" => 1_000_000,
        b"GB" => 1_000_000_000,
        b"TB" => 1_000_000_000_000,
        b"PB" => 1_000_000_000_000_000,
        _ => return Err(SIZE),
    };
    let number = core::str::from_utf8(digits).ok().and_then(|digits| digits.parse::<u64>().ok());
    match number.and_then(|number| number.checked_mul(factor)) {
        None | Some(0) => Err(SIZE),
        Some(bytes) => Ok(PartSize::Bytes(bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(lines: &str) -> Result<PoolSet> {
        PoolSet::parse(format!("PMEMPOOLSET\n{lines}").as_bytes(), Path::new("s"))
    }

    fn refused(lines: &str) -> String {
        parsed(lines).unwrap_err().to_string()
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("2097152", 2 << 20),
            ("5B", 5),
            ("3K", 3 << 10),
            ("3M", 3 << 20),
            ("3G", 3 << 30),
            ("3T", 3 << 40),
            ("3P", 3 << 50),
            ("3KiB", 3 << 10),
            ("3PiB", 3 << 50),
            ("3kB", 3000),
            ("3MB", 3_000_000),
            ("3GB", 3_000_000_000),
            ("3TB", 3_000_000_000_000),
            ("3PB", 3_000_000_000_000_000),
        ] {
            let set = parsed(&format!("{text} /a")).unwrap();
            assert_eq!(set.replicas[0].parts[0].size, PartSize::Bytes(bytes), "{text}");
        }
        for text in [
            "0x10",
            "1.5G",
            "3k",
            "3m",
            "3g",
            "0",
            "0M",
            "-1",
            "M",
            "3KB",
            "99999P",
            "auto",
            "99999999999999999999999",
        ] {
            assert_eq!(refused(&format!("{text} /a")), "s [incorrect format of size:2]", "{text}");
        }
    }

    #[test]
    fn layouts() {
        let set = parsed(
            "# c\n\n\t 4M\t/a# c\nOPTION SINGLEHDR SINGLEHDR\r\n5M /b\nREPLICA\nAUTO /dev/dax\n",
        );
        let set = set.unwrap();
        assert!(set.single_header);
        let sizes: Vec<usize> = set.replicas.iter().map(|replica| replica.parts.len()).collect();
        assert_eq!(sizes, [2, 1]);
        assert_eq!(set.replicas[1].parts[0].size, PartSize::Auto);
        assert_eq!(PoolSet::parse(set.to_string().as_bytes(), Path::new("s")), Ok(set));
    }

    #[test]
    fn what_is_refused() {
        for (text, message) in [
            ("", "s [no pool set parts:2]"),
            ("# nothing\n", "s [no pool set parts:3]"),
            ("REPLICA\n", "s [no pool set parts:2]"),
            ("4M /a\nREPLICA\n", "s [no replica parts:4]"),
            ("4M /a\nREPLICA\nREPLICA\n4M /b", "s [no replica parts:4]"),
            ("4M /a\nREPLICAS\n", "s [exactly 'REPLICA' expected:3]"),
            ("4M /a\nREPLICA u@h set\n", "s [remote replicas are not supported:3]"),
            ("4M /a\nREPLICA u@h /set\n", "s [incorrect descriptor (must be a relative path):3]"),
            (
                "4M /a\nREPLICA x\n",
                "s [address of remote node and descriptor of remote pool set expected:3]",
            ),
            (" REPLICA\n", "s [invalid token found in the current line:2]"),
            ("4M a\n", "s [incorrect path (must be an absolute one):2]"),
            ("4M\n", "s [invalid token found in the current line:2]"),
            ("4M /a b\n", "s [invalid token found in the current line:2]"),
            ("   \n", "s [invalid token found in the current line:2]"),
            ("4 M /a\n", "s [invalid token found in the current line:2]"),
            ("OPTION\n", "s [missing option name:2]"),
            ("OPTION X\n", "s [unknown option:2]"),
        ] {
            assert_eq!(refused(text), message, "{text}");
        }
        assert_eq!(parsed("4M /a\nREPLICA h set\n").unwrap_err().errno(), Errno::ENOTSUP);
        for text in [
            "",
            "PMEMPOOLSET",
            "PMEMPOOLSET ",
            "PMEMPOOLSET # c\n",
            "pmempoolset\n",
            "PMEMPOOLSETX\n1M /a",
        ] {
            let error = PoolSet::parse(text.as_bytes(), Path::new("s")).unwrap_err();
            assert_eq!(error.to_string(), "s [the first line must be exactly 'PMEMPOOLSET':1]");
        }
    }
}
