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
const NO_HEADERS: &str = "NOHDRS is for remote pools only, which are not supported";

pub(super) fn parse(text: &[u8], path: &Path) -> Result<PoolSet> {
    let error =
        |line, text| Err(Error::Syntax { text, path: path.into(), line, errno: errno(text) });
    let mut lines = lines(text);
    if lines.next() != Some(POOL_SET_SIGNATURE) {
        return error(1, FIRST_LINE);
    }
    let mut set = PoolSet { replicas: vec![ReplicaSpec::default()], single_header: false };
    let mut last = 1;
    for (line, text) in (2..).zip(lines) {
        last = line;
        if let Err(text) = parse_line(text, &mut set) {
            return error(line, text);
        }
    }
    match set.replicas.last() {
        Some(replica) if !replica.parts.is_empty() => Ok(set),
        _ if set.replicas.len() > 1 => error(last, NO_REPLICA_PARTS),
        _ => error(last, NO_PARTS),
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
    let mut tokens = line.split(|byte| b" \t".contains(byte)).filter(|token| !token.is_empty());
    if let Some(rest) = line.strip_prefix(b"REPLICA") {
        if rest.first().is_some_and(|byte| !b" \t".contains(byte)) {
            return Err(REPLICA);
        }
        return replica(tokens.skip(1), set);
    }
    if let Some(rest) = line.strip_prefix(b"OPTION") {
        if rest.first().is_some_and(|byte| !b" \t".contains(byte)) {
            return Err(UNKNOWN_OPTION);
        }
        return options(tokens.skip(1), set);
    }
    let size = parse_size(tokens.next().ok_or(TOKEN)?)?;
    let path = tokens.next().ok_or(TOKEN)?;
    if path.first() != Some(&b'/') {
        return Err(PATH);
    }
    if tokens.next().is_some() {
        return Err(TOKEN);
    }
    let part = PartSpec { size, path: OsStr::from_bytes(path).into() };
    set.replicas.last_mut().ok_or(NO_PARTS)?.parts.push(part);
    Ok(())
}

fn replica<'t>(
    mut tokens: impl Iterator<Item = &'t [u8]>,
    set: &mut PoolSet,
) -> core::result::Result<(), &'static str> {
    if set.replicas.last().is_none_or(|replica| replica.parts.is_empty()) {
        return Err(if set.replicas.len() > 1 { NO_REPLICA_PARTS } else { NO_PARTS });
    }
    match (tokens.next(), tokens.next(), tokens.next()) {
        (None, ..) => {
            set.replicas.push(ReplicaSpec::default());
            Ok(())
        }
        (Some(_), Some(descriptor), None) if descriptor.first() == Some(&b'/') => Err(DESCRIPTOR),
        (Some(_), Some(_), None) => Err(REMOTE),
        _ => Err(REPLICA),
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
            assert_eq!(refused(&format!("{text} /a")), "incorrect format of size [s:2]", "{text}");
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
            ("", "no pool set parts [s:1]"),
            ("# nothing\n", "no pool set parts [s:2]"),
            ("REPLICA\n", "no pool set parts [s:2]"),
            ("4M /a\nREPLICA\n", "no replica parts [s:3]"),
            ("4M /a\nREPLICA\nREPLICA\n4M /b", "no replica parts [s:4]"),
            ("4M /a\nREPLICAS\n", "exactly 'REPLICA' expected [s:3]"),
            ("4M /a\nREPLICA u@h set\n", "remote replicas are not supported [s:3]"),
            ("4M /a\nREPLICA u@h /set\n", "incorrect descriptor (must be a relative path) [s:3]"),
            (" REPLICA\n", "incorrect format of size [s:2]"),
            ("4M a\n", "incorrect path (must be an absolute one) [s:2]"),
            ("4M\n", "invalid token found in the current line [s:2]"),
            ("4M /a b\n", "invalid token found in the current line [s:2]"),
            ("   \n", "invalid token found in the current line [s:2]"),
            ("4 M /a\n", "incorrect path (must be an absolute one) [s:2]"),
            ("OPTION\n", "missing option name [s:2]"),
            ("OPTION X\n", "unknown option [s:2]"),
        ] {
            assert_eq!(refused(text), message, "{text}");
        }
        assert_eq!(parsed("4M /a\nREPLICA h set\n").unwrap_err().errno(), Errno::ENOTSUP);
        for text in
            ["", "PMEMPOOLSET ", "PMEMPOOLSET # c\n", "pmempoolset\n", "PMEMPOOLSETX\n1M /a"]
        {
            let error = PoolSet::parse(text.as_bytes(), Path::new("s")).unwrap_err();
            assert_eq!(error.to_string(), "the first line must be exactly 'PMEMPOOLSET' [s:1]");
        }
    }
}
