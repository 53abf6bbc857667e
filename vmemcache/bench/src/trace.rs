//! Traces: lists of requests, read from files.

use std::collections::HashMap;
use std::fs::File;
use std::hash::Hash;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

/// What a request does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    /// Looks for the key, and puts it if it is not there.
    Get,
    /// Puts the key, in place of what was there.
    Set,
    /// Removes the key.
    Delete,
}

/// One request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Request {
    /// The number of the key. Keys are numbered in the order in which they come.
    pub key: u32,
    /// The size of key and value in bytes, 0 if the trace does not say.
    pub size: u32,
    /// What it does.
    pub operation: Operation,
}

/// A list of requests.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// The requests in their order.
    pub requests: Vec<Request>,
    /// How many different keys there are.
    pub keys: u32,
}

/// How a file is to be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// Lines `start count ignored ignored`: requests for the pages `start .. start + count`.
    Lis,
    /// Big-endian keys of 32 bits.
    Cache2k,
    /// Lines `key` or `key,size`.
    Text,
    /// Lines `time,key,key size,value size,client,operation,ttl`, as of the caches of Twitter.
    Twitter,
}

impl Format {
    /// The format that a file's name tells, with or without `.zst` or `.xz`.
    pub fn of(path: &Path) -> Self {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let name = name.strip_suffix(".zst").or(name.strip_suffix(".xz")).unwrap_or(&name);
        match name.rsplit('.').next() {
            Some("lis") => Self::Lis,
            Some("trace") => Self::Cache2k,
            Some("csv") => Self::Twitter,
            _ => Self::Text,
        }
    }
}

/// Numbers keys in the order in which they come.
#[derive(Debug)]
struct Numbers<K>(HashMap<K, u32>);

impl<K: Hash + Eq> Numbers<K> {
    fn new() -> Self {
        Self(HashMap::new())
    }

    fn of(&mut self, key: K) -> u32 {
        let next = self.0.len() as u32;
        *self.0.entry(key).or_insert(next)
    }
}

impl Trace {
    /// A trace of gets of unit size.
    pub fn of_keys<K: Hash + Eq>(keys: impl IntoIterator<Item = K>) -> Self {
        let mut numbers = Numbers::new();
        let get = |key| Request { key, size: 0, operation: Operation::Get };
        let requests = keys.into_iter().map(|key| get(numbers.of(key))).collect();
        Self { requests, keys: numbers.0.len() as u32 }
    }

    /// Reads a file; `.zst` and `.xz` are unpacked. `limit` requests at most.
    ///
    /// # Errors
    /// If the file cannot be read, or a line is not of the format: the error names file and line.
    pub fn read(path: &Path, format: Format, limit: usize) -> io::Result<Self> {
        let named =
            |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        let trace = unpack(path).and_then(|reader| Self::parse(reader, format, limit));
        trace.map_err(named)
    }

    fn parse(reader: Box<dyn BufRead>, format: Format, limit: usize) -> io::Result<Self> {
        if format == Format::Cache2k {
            return parse_cache2k(reader, limit);
        }
        let mut numbers = Numbers::new();
        let mut requests = Vec::new();
        for (number, line) in reader.lines().enumerate() {
            let line = line?;
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let parsed = match format {
                Format::Lis => parse_lis(line, &mut numbers, &mut requests),
                Format::Twitter => parse_twitter(line, &mut numbers, &mut requests),
                _ => parse_text(line, &mut numbers, &mut requests),
            };
            if parsed.is_none() {
                let text = format!("line {}: not of the format {format:?}: {line:?}", number + 1);
                return Err(io::Error::new(io::ErrorKind::InvalidData, text));
            }
            if requests.len() >= limit {
                requests.truncate(limit);
                break;
            }
        }
        Ok(Self { requests, keys: numbers.0.len() as u32 })
    }
}

pub(crate) fn unpack(path: &Path) -> io::Result<Box<dyn BufRead>> {
    let mut file = BufReader::new(File::open(path)?);
    let broken = |text: String| io::Error::new(io::ErrorKind::InvalidData, text);
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("zst") => {
            let decoder = ruzstd::decoding::StreamingDecoder::new(file);
            Ok(Box::new(BufReader::new(decoder.map_err(|error| broken(error.to_string()))?)))
        }
        Some("xz") => {
            let mut unpacked = Vec::new();
            let result = lzma_rs::xz_decompress(&mut file, &mut unpacked);
            result.map_err(|error| broken(format!("{error:?}")))?;
            Ok(Box::new(io::Cursor::new(unpacked)))
        }
        _ => Ok(Box::new(file)),
    }
}

fn parse_cache2k(mut reader: Box<dyn BufRead>, limit: usize) -> io::Result<Trace> {
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes)?;
    if !bytes.len().is_multiple_of(4) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "its size is no multiple of 4"));
    }
    let keys = bytes.chunks_exact(4).take(limit);
    Ok(Trace::of_keys(keys.map(|key| [key[0], key[1], key[2], key[3]])))
}

fn parse_lis(line: &str, numbers: &mut Numbers<String>, requests: &mut Vec<Request>) -> Option<()> {
    let mut fields = line.split_ascii_whitespace();
    let start: u64 = fields.next()?.parse().ok()?;
    let count: u64 = fields.next()?.parse().ok()?;
    for page in start..start.checked_add(count)? {
        let key = numbers.of(page.to_string());
        requests.push(Request { key, size: 0, operation: Operation::Get });
    }
    Some(())
}

fn parse_text(
    line: &str,
    numbers: &mut Numbers<String>,
    requests: &mut Vec<Request>,
) -> Option<()> {
    let (key, size) = match line.split_once(',') {
        Some((key, size)) => (key, size.trim().parse().ok()?),
        None => (line, 0),
    };
    let key = numbers.of(key.trim().to_owned());
    requests.push(Request { key, size, operation: Operation::Get });
    Some(())
}

fn parse_twitter(
    line: &str,
    numbers: &mut Numbers<String>,
    requests: &mut Vec<Request>,
) -> Option<()> {
    let fields: Vec<&str> = line.split(',').collect();
    let [_, key, key_size, value_size, _, operation, _] = fields[..] else { return None };
    let size = key_size.parse::<u32>().ok()?.checked_add(value_size.parse().ok()?)?;
    let operation = match operation {
        "get" | "gets" => Operation::Get,
        "set" | "add" | "replace" | "cas" | "append" | "prepend" | "incr" | "decr" => {
            Operation::Set
        }
        "delete" => Operation::Delete,
        _ => return None,
    };
    requests.push(Request { key: numbers.of(key.to_owned()), size: size.max(1), operation });
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &'static str, format: Format) -> io::Result<Trace> {
        Trace::parse(Box::new(io::Cursor::new(text)), format, usize::MAX)
    }

    #[test]
    fn formats() {
        let keys = |trace: Trace| trace.requests.iter().map(|r| r.key).collect::<Vec<_>>();
        assert_eq!(keys(parse("7 3 0 1\n8 1 0 2\n", Format::Lis).unwrap()), [0, 1, 2, 1]);
        let text = parse("# sizes\na,10\nb\n\na,10", Format::Text).unwrap();
        assert_eq!(text.requests[0].size, 10);
        assert_eq!(keys(text), [0, 1, 0]);
        assert_eq!(
            keys(parse("\0\0\0\x01\0\0\0\x02\0\0\0\x01", Format::Cache2k).unwrap()),
            [0, 1, 0]
        );
        let twitter = "0,k1,2,30,1,get,0\n1,k1,2,40,1,set,60\n2,k1,2,0,1,delete,0\n";
        let twitter = parse(twitter, Format::Twitter).unwrap();
        let operations: Vec<_> = twitter.requests.iter().map(|r| (r.operation, r.size)).collect();
        use Operation::*;
        assert_eq!(operations, [(Get, 32), (Set, 42), (Delete, 2)]);
        assert_eq!(twitter.keys, 1);
    }

    #[test]
    fn errors_name_the_line() {
        for (text, format) in [
            ("1 2\n1 x\n", Format::Lis),
            ("a,1\na,b", Format::Text),
            ("0,k,1,1,1,get,0\n0,k,1,1,1,look,0", Format::Twitter),
        ] {
            let error = parse(text, format).unwrap_err().to_string();
            assert!(error.starts_with("line 2: "), "{error}");
        }
        assert!(parse("abc", Format::Cache2k).is_err());
    }

    #[test]
    fn names_tell_formats() {
        let of = |name: &str| Format::of(Path::new(name));
        assert_eq!(of("a/OLTP.lis.zst"), Format::Lis);
        assert_eq!(of("web12.trace.xz"), Format::Cache2k);
        assert_eq!(of("cluster52.csv"), Format::Twitter);
        assert_eq!(of("keys.txt"), Format::Text);
    }
}
