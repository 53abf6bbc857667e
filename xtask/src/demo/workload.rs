//! The programs of the demo: what each needs, its input and how it is called. Inputs are made here, the same on
//! every machine; the scripts are files of their own in `workloads/`.

use crate::programs;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Name of the input directory inside a workload's working directory.
const INPUT: &str = "input";

/// One row of the demo.
pub(crate) struct Workload {
    /// Its name in the table and for `--only`.
    pub(crate) name: &'static str,
    /// Programs it needs; of each group of names the first that is found.
    needs: &'static [&'static [&'static str]],
    /// Debian packages that bring them.
    pub(crate) packages: &'static str,
    /// Its script: file name and content.
    script: Option<(&'static str, &'static str)>,
    /// Makes the input files.
    prepare: fn(&Path) -> io::Result<()>,
    /// Arguments of the first program needed.
    arguments: &'static [&'static str],
    /// How it ends when all is well.
    pub(crate) end: &'static str,
}

/// Every row, in the order of the table.
pub(crate) const WORKLOADS: &[Workload] = &[
    Workload {
        name: "bash",
        needs: &[&["bash"]],
        packages: "bash",
        script: Some(("bash.sh", include_str!("workloads/bash.sh"))),
        prepare: nothing,
        arguments: &["bash.sh"],
        end: "exit 0",
    },
    Workload {
        name: "perl",
        needs: &[&["perl"]],
        packages: "perl",
        script: Some(("perl.pl", include_str!("workloads/perl.pl"))),
        prepare: nothing,
        arguments: &["perl.pl"],
        end: "exit 0",
    },
    Workload {
        name: "python3",
        needs: &[&["python3"]],
        packages: "python3",
        script: Some(("python.py", include_str!("workloads/python.py"))),
        prepare: nothing,
        arguments: &["python.py"],
        end: "exit 0",
    },
    Workload {
        name: "git",
        needs: &[&["sh"], &["git"]],
        packages: "git",
        script: Some(("git.sh", include_str!("workloads/git.sh"))),
        prepare: sources,
        arguments: &["git.sh"],
        end: "exit 0",
    },
    Workload {
        name: "sort",
        needs: &[&["sort"]],
        packages: "coreutils",
        script: None,
        prepare: million_lines,
        arguments: &["--parallel=2", "-S", "40M", "-t,", "-k2,2n", "-k1,1r", "input/lines"],
        end: "exit 0",
    },
    Workload {
        name: "gcc",
        needs: &[&["gcc", "cc"]],
        packages: "gcc",
        script: None,
        prepare: one_source,
        arguments: &["-O2", "-g", "-S", "-o", "-", "input/program.c"],
        end: "exit 0",
    },
    Workload {
        name: "tar|gzip",
        needs: &[&["sh"], &["tar"], &["gzip"]],
        packages: "tar gzip",
        script: Some(("tar.sh", include_str!("workloads/tar.sh"))),
        prepare: tree,
        arguments: &["tar.sh"],
        end: "exit 0",
    },
    Workload {
        name: "sqlite3",
        needs: &[&["sqlite3"]],
        packages: "sqlite3",
        script: Some(("sqlite.sql", include_str!("workloads/sqlite.sql"))),
        prepare: nothing,
        arguments: &["-batch", ":memory:", ".read sqlite.sql"],
        end: "exit 0",
    },
    Workload {
        name: "redis",
        needs: &[&["sh"], &["redis-server"], &["redis-cli"], &["redis-benchmark"]],
        packages: "redis-server redis-tools",
        script: Some(("redis.sh", include_str!("workloads/redis.sh"))),
        prepare: redis_commands,
        arguments: &["redis.sh"],
        end: "exit 0",
    },
    Workload {
        name: "awk",
        needs: &[&["awk", "mawk", "gawk"]],
        packages: "mawk",
        script: Some(("words.awk", include_str!("workloads/words.awk"))),
        prepare: lines,
        arguments: &["-f", "words.awk", "input/lines"],
        end: "exit 0",
    },
    Workload {
        name: "jq",
        needs: &[&["jq"]],
        packages: "jq",
        script: Some(("filter.jq", include_str!("workloads/filter.jq"))),
        prepare: records,
        arguments: &["-S", "-f", "filter.jq", "input/records.json"],
        end: "exit 0",
    },
    Workload {
        name: "lua",
        needs: &[&["lua5.4", "lua5.3", "lua"]],
        packages: "lua5.4",
        script: Some(("tables.lua", include_str!("workloads/tables.lua"))),
        prepare: nothing,
        arguments: &["tables.lua"],
        end: "exit 0",
    },
    Workload {
        name: "diff",
        needs: &[&["diff"]],
        packages: "diffutils",
        script: None,
        prepare: two_versions,
        arguments: &["-u", "--minimal", "--label=a", "--label=b", "input/before", "input/after"],
        // It found differences.
        end: "exit 1",
    },
];

/// The programs of a workload on this machine.
pub(crate) struct Tools {
    paths: Vec<(&'static str, PathBuf)>,
}

impl Workload {
    /// Finds the programs.
    ///
    /// # Errors
    /// The names of those that are not on this machine.
    pub(crate) fn tools(&self) -> Result<Tools, String> {
        let mut absent = Vec::new();
        let mut paths = Vec::new();
        for group in self.needs {
            match group.iter().find_map(|name| programs::find_compiled(name)) {
                Some(path) => paths.push((group[0], path)),
                None => absent.push(group[0]),
            }
        }
        if absent.is_empty() { Ok(Tools { paths }) } else { Err(absent.join(" ")) }
    }

    /// The command line.
    pub(crate) fn command(&self, tools: &Tools) -> Vec<OsString> {
        let program = tools.paths[0].1.clone().into_os_string();
        std::iter::once(program).chain(self.arguments.iter().map(OsString::from)).collect()
    }

    /// Writes script and input into `directory`.
    ///
    /// # Errors
    /// The files cannot be written.
    pub(crate) fn prepare(&self, directory: &Path) -> io::Result<()> {
        fs::create_dir_all(directory.join(INPUT))?;
        if let Some((name, content)) = self.script {
            fs::write(directory.join(name), content)?;
        }
        (self.prepare)(&directory.join(INPUT))
    }
}

impl Tools {
    /// Variables that tell a script where the programs are: `DEMO_REDIS_CLI` for `redis-cli`.
    pub(crate) fn environment(&self) -> Vec<(OsString, OsString)> {
        let variable =
            |name: &str| format!("DEMO_{}", name.to_uppercase().replace('-', "_")).into();
        self.paths.iter().map(|(name, path)| (variable(name), path.clone().into())).collect()
    }
}

/// A small generator of the same numbers everywhere.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn word(&mut self) -> String {
        let length = 3 + self.below(8);
        (0..length).map(|_| char::from(b'a' + self.below(26) as u8)).collect()
    }
}

fn nothing(_: &Path) -> io::Result<()> {
    Ok(())
}

/// Words and numbers.
fn lines(input: &Path) -> io::Result<()> {
    fs::write(input.join("lines"), many_lines(150_000, 1))
}

/// More of them.
fn million_lines(input: &Path) -> io::Result<()> {
    fs::write(input.join("lines"), many_lines(1_000_000, 1))
}

fn many_lines(count: u32, seed: u64) -> String {
    let mut numbers = Numbers(0x9e37_79b9 + seed);
    let mut text = String::new();
    for _ in 0..count {
        let (a, b) = (numbers.word(), numbers.word());
        let _ = writeln!(text, "{a} {b},{},{}", numbers.below(100_000), numbers.below(1000));
    }
    text
}

/// Two texts that differ in one line out of 8.
fn two_versions(input: &Path) -> io::Result<()> {
    let before = many_lines(110_000, 2);
    let mut numbers = Numbers(77);
    let mut after = String::new();
    for line in before.lines() {
        match numbers.below(24) {
            0 => {}
            1 => after.extend([line, " changed\n"]),
            2 => after.extend([line, "\nadded\n"]),
            _ => after.extend([line, "\n"]),
        }
    }
    fs::write(input.join("before"), before)?;
    fs::write(input.join("after"), after)
}

/// C source with `functions` functions that call each other.
fn c_source(functions: u64, seed: u64) -> String {
    let mut numbers = Numbers(seed);
    let mut text = String::from(
        "#include <stddef.h>\n\nstruct node { struct node *next; long key; double weight[4]; };\n",
    );
    for f in 0..functions {
        let (a, b, c) = (numbers.below(97) + 1, numbers.below(89) + 1, numbers.below(7) + 1);
        let callee = numbers.below(f + 1);
        let _ = write!(
            text,
            "\nlong function_{f}(struct node *list, long n)\n{{\n    long sum = {a};\n    double scale = {b}.5;\n\
             \n    for (struct node *p = list; p != NULL; p = p->next) {{\n        switch ((p->key + n) % {c}) {{\n        \
             case 0: sum += p->key * {a}; break;\n        case 1: sum ^= p->key >> {c}; break;\n        case 2: scale *= p->weight[{}]; break;\n        \
             default: sum -= (long)(p->weight[0] * scale); break;\n        }}\n        for (int i = 0; i < 4; i++)\n            p->weight[i] += scale * (double)sum / (i + {b});\n    }}\n",
            numbers.below(4)
        );
        if callee < f {
            let _ = write!(
                text,
                "    if (n > {a} && sum % {b} == 0)\n        sum += function_{callee}(list, n - 1);\n"
            );
        }
        text.push_str("    return sum;\n}\n");
    }
    text
}

fn one_source(input: &Path) -> io::Result<()> {
    fs::write(input.join("program.c"), c_source(140, 3))
}

fn sources(input: &Path) -> io::Result<()> {
    (0..24).try_for_each(|i| fs::write(input.join(format!("file{i}.c")), c_source(30 + i, 100 + i)))
}

/// A tree of directories with files of text.
fn tree(input: &Path) -> io::Result<()> {
    for i in 0..20 {
        let directory = input.join(format!("d{}", i % 5)).join(format!("e{i}"));
        fs::create_dir_all(&directory)?;
        for j in 0..8 {
            let text =
                if j % 2 == 0 { many_lines(2500, 10 * i + j) } else { c_source(60, 10 * i + j) };
            fs::write(directory.join(format!("file{j}")), text)?;
        }
    }
    Ok(())
}

/// An array of records as JSON.
fn records(input: &Path) -> io::Result<()> {
    let mut numbers = Numbers(9);
    let mut text = String::from("[");
    for id in 0..20_000 {
        let comma = if id == 0 { "" } else { "," };
        let (name, kind, price) = (numbers.word(), numbers.below(40), numbers.below(100_000));
        let tags = [numbers.below(50), numbers.below(50), numbers.below(50)];
        let _ = write!(
            text,
            "{comma}\n{{\"id\":{id},\"name\":\"{name}\",\"kind\":{kind},\"price\":{price},\"tags\":{tags:?}}}"
        );
    }
    text.push_str("\n]\n");
    fs::write(input.join("records.json"), text)
}

/// Commands that fill a redis server with strings, lists, hashes, sets and a sorted set.
fn redis_commands(input: &Path) -> io::Result<()> {
    let mut numbers = Numbers(13);
    let mut text = String::new();
    for i in 0..12_000 {
        let word = numbers.word();
        let value = "v".repeat(1 + numbers.below(300) as usize);
        let _ = write!(
            text,
            "SET string:{i} {word}{value}\r\nRPUSH list:{} {word}\r\nHSET hash:{} field{} {word}\r\n\
             SADD set:{} {word}\r\nZADD scores {} {word}\r\n",
            i % 40,
            i % 200,
            i % 9,
            i % 30,
            numbers.below(1_000_000),
        );
    }
    fs::write(input.join("redis-commands"), text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_are_the_same_every_time() {
        assert_eq!(many_lines(100, 4), many_lines(100, 4));
        assert_eq!(c_source(10, 4), c_source(10, 4));
        assert_ne!(c_source(10, 4), c_source(10, 5));
    }

    #[test]
    fn names_and_packages_are_known() {
        for (i, workload) in WORKLOADS.iter().enumerate() {
            assert!(WORKLOADS[i + 1..].iter().all(|other| other.name != workload.name));
            for package in workload.packages.split(' ') {
                let listed = crate::deps::PACKAGES.iter().any(|known| known.name == package);
                assert!(listed, "{package} of {} is not in deps.rs", workload.name);
            }
        }
    }

    #[test]
    fn scripts_get_variables_a_shell_accepts() {
        let tools = Tools { paths: vec![("redis-cli", "/x/redis-cli".into())] };
        assert_eq!(tools.environment(), [("DEMO_REDIS_CLI".into(), "/x/redis-cli".into())]);
    }
}
