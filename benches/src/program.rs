//! Real programs of the matrix. Each runs a small job of ours that allocates as such programs do; what is
//! not installed is left out.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use crate::case::{Case, Label, Server, Work};
use crate::error::{Context, Result};
use crate::launch::Task;
use crate::random::Random;

/// System directories come first: wrappers of version managers would be measured otherwise.
fn find(names: &[&str]) -> Option<PathBuf> {
    let directories = ["/usr/bin", "/bin", "/usr/local/bin", "/usr/sbin"];
    names
        .iter()
        .flat_map(|name| directories.iter().map(move |directory| Path::new(directory).join(name)))
        .find(|path| path.is_file())
}

/// Units of work after scaling, at least one.
fn units(full: u64, scale: f64) -> u64 {
    ((full as f64 * scale) as u64).max(1)
}

fn write(directory: &Path, name: &str, text: &str) -> Result<String> {
    let path = directory.join(name);
    fs::write(&path, text).context(|| path.display().to_string())?;
    Ok(path.display().to_string())
}

fn case(name: &str, task: Task) -> Case {
    let label = Label { name: name.to_owned(), group: "programs".to_owned(), threads: 1 };
    Case { label, work: Work::Program(task) }
}

fn task(program: &Path, arguments: &[&str]) -> Task {
    let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    Task { program: program.to_owned(), arguments, settings: Vec::new() }
}

/// A script for an interpreter, with the number of rounds as its argument.
struct Script {
    name: &'static str,
    programs: &'static [&'static str],
    file: &'static str,
    text: &'static str,
    rounds: u64,
    settings: &'static [(&'static str, &'static str)],
}

const SCRIPTS: [Script; 5] = [
    Script {
        name: "python",
        programs: &["python3"],
        file: "records.py",
        text: include_str!("../programs/records.py"),
        rounds: 20,
        settings: &[("PYTHONHASHSEED", "0")],
    },
    // Without the interpreter's own allocator for small objects.
    Script {
        name: "python-malloc",
        programs: &["python3"],
        file: "records.py",
        text: include_str!("../programs/records.py"),
        rounds: 20,
        settings: &[("PYTHONHASHSEED", "0"), ("PYTHONMALLOC", "malloc")],
    },
    Script {
        name: "lua",
        programs: &["lua5.4", "lua5.3", "lua"],
        file: "records.lua",
        text: include_str!("../programs/records.lua"),
        rounds: 30,
        settings: &[],
    },
    Script {
        name: "perl",
        programs: &["perl"],
        file: "records.pl",
        text: include_str!("../programs/records.pl"),
        rounds: 60,
        settings: &[("PERL_HASH_SEED", "0"), ("PERL_PERTURB_KEYS", "0")],
    },
    Script {
        name: "node",
        programs: &["node"],
        file: "records.js",
        text: include_str!("../programs/records.js"),
        rounds: 20,
        settings: &[],
    },
];

/// Records as a log exporter would write them.
fn json_records(count: u64) -> String {
    let mut random = Random::new(1);
    let mut text = String::from("[\n");
    for id in 0..count {
        let separator = if id + 1 == count { "" } else { "," };
        let (user, bytes, status) =
            (random.below(5000), random.below(100_000), 200 + random.below(4));
        let _ = writeln!(
            text,
            r#"{{"id":{id},"user":"user{user}","request":{{"path":"/items/{bytes}","status":{status}}},"sizes":[{bytes},{user}],"tags":["a{user}","b{status}"]}}{separator}"#,
        );
    }
    text.push_str("]\n");
    text
}

/// A C file with many small functions that are worth optimising.
fn c_source(functions: u64) -> String {
    let mut text = String::from("struct item { int key; long value; struct item *next; };\n");
    for f in 0..functions {
        let _ = writeln!(
            text,
            "long f{f}(struct item *list, int n) {{\n  long sum = {f};\n  for (int i = 0; i < n; i++) {{\n    \
             switch (list->key % 7) {{\n      case 0: sum += list->value * {f}; break;\n      \
             case 1: sum ^= list->value >> 3; break;\n      case 2: if (list->next) sum -= list->next->value; break;\n      \
             default: sum = sum * 31 + i; }}\n    list = list->next ? list->next : list;\n  }}\n  return sum;\n}}"
        );
    }
    text
}

fn sql(rows: u64) -> String {
    format!(include_str!("../programs/records.sql"), rows = rows)
}

fn scripts(directory: &Path, scale: f64) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for script in &SCRIPTS {
        if let Some(program) = find(script.programs) {
            let file = write(directory, script.file, script.text)?;
            let mut task = task(&program, &[&file, &units(script.rounds, scale).to_string()]);
            task.settings = script
                .settings
                .iter()
                .map(|&(name, value)| (name.to_owned(), value.to_owned()))
                .collect();
            cases.push(case(script.name, task));
        }
    }
    Ok(cases)
}

/// redis-server under load from redis-benchmark over a local socket; only the server is measured.
fn redis(directory: &Path, scale: f64) -> Option<Case> {
    let server = find(&["redis-server"])?;
    let client = find(&["redis-benchmark"])?;
    let control = find(&["redis-cli"])?;
    let socket = directory.join("redis.sock").display().to_string();
    let requests = units(200_000, scale).to_string();
    let label = Label { name: "redis".to_owned(), group: "programs".to_owned(), threads: 1 };
    let work = Work::Server(Box::new(Server {
        server: task(
            &server,
            &[
                "--port",
                "0",
                "--unixsocket",
                &socket,
                "--save",
                "",
                "--appendonly",
                "no",
                "--daemonize",
                "no",
            ],
        ),
        ready: task(&control, &["-s", &socket, "--no-auth-warning", "ping"]),
        client: task(
            &client,
            &[
                "-s",
                &socket,
                "-n",
                &requests,
                "-r",
                "100000",
                "-P",
                "16",
                "-d",
                "200",
                "-q",
                "-t",
                "set,get,lpush,lpop,sadd,hset,mset",
            ],
        ),
        stop: task(&control, &["-s", &socket, "shutdown", "nosave"]),
    }));
    Some(Case { label, work })
}

/// All real programs that are installed; their inputs are written into `directory`.
///
/// # Errors
/// An input cannot be written.
pub fn programs(directory: &Path, scale: f64) -> Result<Vec<Case>> {
    let mut cases = scripts(directory, scale)?;
    if let Some(program) = find(&["jq"]) {
        let input = write(directory, "records.json", &json_records(units(120_000, scale)))?;
        let filter = "group_by(.user) | map({user: .[0].user, bytes: (map(.sizes[0]) | add), tags: (map(.tags[]) | unique | length)}) | sort_by(.bytes) | .[-5:]";
        cases.push(case("jq", task(&program, &["-c", filter, &input])));
    }
    if let Some(program) = find(&["sqlite3"]) {
        let input = write(directory, "records.sql", &sql(units(300_000, scale)))?;
        cases.push(case(
            "sqlite",
            task(&program, &["-batch", ":memory:", &format!(".read {input}")]),
        ));
    }
    if let Some(program) = find(&["gcc"]) {
        let input = write(directory, "functions.c", &c_source(units(500, scale)))?;
        cases.push(case("gcc", task(&program, &["-O2", "-S", "-o", "-", &input])));
    }
    cases.extend(redis(directory, scale));
    Ok(cases)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generated_records_are_valid_json() {
        let records: serde_json::Value = serde_json::from_str(&json_records(50)).unwrap();
        let records = records.as_array().unwrap();
        assert_eq!(records.len(), 50);
        assert!(records.iter().all(|record| record["tags"].as_array().unwrap().len() == 2));
    }

    #[test]
    fn inputs_are_the_same_each_time() {
        assert_eq!(json_records(20), json_records(20));
        assert_eq!(c_source(3).matches("long f").count(), 3);
        assert!(sql(77).contains("77"));
    }

    #[test]
    fn there_is_always_something_to_do() {
        assert_eq!(units(100, 0.001), 1);
        assert_eq!(units(100, 0.5), 50);
    }
}
