//! The rows of the tables: what is run under each allocator.

use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::error::{Context, Error, Result};
use crate::launch::{Finished, Launcher, Running, Task};

/// One row.
#[derive(Clone, Debug)]
pub struct Case {
    /// Name and group.
    pub label: Label,
    /// What is run.
    pub work: Work,
}

/// How a row is called and where it belongs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label {
    /// Unique name.
    pub name: String,
    /// Group of the geometric means: micro, large, program-like, fragmentation, threads, programs.
    pub group: String,
    /// Threads that work at the same time.
    pub threads: u32,
}

/// Group of the cases that take minutes and say something about memory.
const LONG: &str = "fragmentation";

impl Label {
    /// Takes minutes and is the same each time: one round is enough.
    pub fn is_long(&self) -> bool {
        self.group == LONG
    }
}

/// What is run and measured.
#[derive(Clone, Debug)]
pub enum Work {
    /// A program that ends by itself.
    Program(Task),
    /// A server that is measured while clients, which are not, use it.
    Server(Box<Server>),
}

/// A server and those who use it.
#[derive(Clone, Debug)]
pub struct Server {
    /// The measured server.
    pub server: Task,
    /// Succeeds as soon as the server answers.
    pub ready: Task,
    /// The load.
    pub client: Task,
    /// Ends the server.
    pub stop: Task,
}

impl Case {
    /// Runs the case once.
    ///
    /// # Errors
    /// Something could not be started; a bad end of the measured program is part of the result.
    pub fn run(&self, launcher: &Launcher, settings: &[(String, String)]) -> Result<Finished> {
        let name = &self.label.name;
        match &self.work {
            Work::Program(task) => launcher.run(task, settings, name),
            Work::Server(server) => server.run(launcher, name, settings),
        }
    }
}

impl Server {
    fn run(
        &self,
        launcher: &Launcher,
        name: &str,
        settings: &[(String, String)],
    ) -> Result<Finished> {
        let mut running = launcher.start(&self.server, settings, name)?;
        let failure = self.load(launcher, name, &mut running)?;
        // Also after a failed load: the server must not stay behind. If it is gone already, this fails.
        let stopped = launcher.run(&self.stop, &[], &format!("{name}-stop"))?;
        let mut finished = running.wait()?;
        let failure =
            failure.or_else(|| stopped.usage.failure().map(|how| format!("stopping it: {how}")));
        if let Some(failure) = failure {
            finished.complaints.push('\n');
            finished.complaints.push_str(&failure);
            if finished.usage.failure().is_none() {
                finished.usage.exit_status = 1;
            }
        }
        // What a server prints has times in it; its clients' success is what is compared.
        finished.output.clear();
        Ok(finished)
    }

    /// Waits for the server, at most ten seconds, then runs the client; what went wrong, if something did.
    fn load(
        &self,
        launcher: &Launcher,
        name: &str,
        running: &mut Running,
    ) -> Result<Option<String>> {
        for _ in 0..200 {
            let answer = launcher.run(&self.ready, &[], &format!("{name}-ready"))?;
            if answer.usage.failure().is_none() {
                let client = launcher.run(&self.client, &[], &format!("{name}-client"))?;
                return Ok(client.usage.failure().map(|how| format!("its client: {how}")));
            }
            if running.has_ended()? {
                return Ok(Some("ended before it answered".to_owned()));
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        Ok(Some("no answer within ten seconds".to_owned()))
    }
}

/// Output that must be the same under every allocator: fields about times and sizes are left out.
pub fn comparable(output: &[u8]) -> Vec<u8> {
    if !output.starts_with(b"workload=") {
        return output.to_owned();
    }
    let text = String::from_utf8_lossy(output);
    let differs =
        |field: &&str| ["rss_", "work_", "pages_"].iter().any(|start| field.starts_with(start));
    let kept: Vec<&str> = text.split_whitespace().filter(|field| !differs(field)).collect();
    kept.join(" ").into_bytes()
}

/// Growth of the resident set over a live set, as the long-running workload prints it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Growth {
    /// Requested bytes alive.
    pub live_bytes: u64,
    /// Resident bytes that hold them.
    pub rss_bytes: u64,
    /// Largest resident growth per 1,000 live bytes in steady state.
    pub rss_worst_permille: u64,
    /// Resident bytes at the end of the churn, before the rest that may follow it.
    #[serde(default)]
    pub rss_churn_bytes: u64,
    /// Of the pages that hold a byte of a live block: no allocator that leaves blocks where they are can
    /// take less.
    #[serde(default)]
    pub pages_bytes: u64,
}

/// The value of a `name=value` field that a workload printed.
fn field(output: &[u8], name: &str) -> Option<u64> {
    let text = std::str::from_utf8(output).ok().filter(|text| text.starts_with("workload="))?;
    let value = |field: &str| field.strip_prefix(name)?.strip_prefix('=')?.parse().ok();
    text.split_whitespace().find_map(value)
}

/// The growth that a workload printed, if it did.
pub fn growth(output: &[u8]) -> Option<Growth> {
    Some(Growth {
        live_bytes: field(output, "live_bytes")?,
        rss_bytes: field(output, "rss_bytes")?,
        rss_worst_permille: field(output, "rss_worst_permille")?,
        rss_churn_bytes: field(output, "rss_churn_bytes")?,
        pages_bytes: field(output, "pages_bytes")?,
    })
}

/// CPU time in microseconds of the work alone, without the start of the process, if a workload printed it.
pub fn work_us(output: &[u8]) -> Option<u64> {
    field(output, "work_us")
}

fn parse_list(list: &str) -> Result<Vec<Label>> {
    list.lines()
        .map(|line| {
            let fields: Vec<&str> = line.split('\t').collect();
            let [name, group, threads] = fields[..] else {
                return Err(Error::new(format!("list of workloads: {line:?}")));
            };
            let threads = threads.parse().context(|| format!("list of workloads: {line:?}"))?;
            Ok(Label { name: name.to_owned(), group: group.to_owned(), threads })
        })
        .collect()
}

/// The cases of `pmem-workloads`, at a scale.
///
/// # Errors
/// The program cannot be run; the text names the command that builds it.
pub fn workloads(program: &Path, scale: f64, seed: u64) -> Result<Vec<Case>> {
    let output = Command::new(program)
        .arg("list")
        .output()
        .context(|| format!("{}: build it by `cargo build --release`", program.display()))?;
    let labels = parse_list(&String::from_utf8_lossy(&output.stdout))?;
    Ok(labels
        .into_iter()
        .map(|label| {
            // Minutes at full scale, and still not seconds at a small one.
            let scale = if label.is_long() { scale * scale.sqrt().min(1.0) } else { scale };
            let options =
                ["--scale", &scale.to_string(), "--seed", &seed.to_string()].map(str::to_owned);
            let arguments = std::iter::once(label.name.clone()).chain(options).collect();
            let task = Task { program: program.to_owned(), arguments, settings: Vec::new() };
            Case { label, work: Work::Program(task) }
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &[u8] = b"workload=long-run ops=9 checksum=00ff work_us=70 live_bytes=1000 rss_bytes=1250 rss_worst_permille=1300 rss_churn_bytes=1400 pages_bytes=1100\n";

    #[test]
    fn times_and_sizes_are_no_part_of_the_comparison() {
        assert_eq!(comparable(LINE), b"workload=long-run ops=9 checksum=00ff live_bytes=1000");
        assert_eq!(comparable(b"rss_bytes=1 of a program\n"), b"rss_bytes=1 of a program\n");
    }

    #[test]
    fn growth_is_read_where_it_is_printed() {
        let expected = Growth {
            live_bytes: 1000,
            rss_bytes: 1250,
            rss_worst_permille: 1300,
            rss_churn_bytes: 1400,
            pages_bytes: 1100,
        };
        assert_eq!(growth(LINE), Some(expected));
        assert_eq!(growth(b"workload=pair16 ops=1 checksum=0"), None);
        assert_eq!(work_us(LINE), Some(70));
        assert_eq!(work_us(b"a program's own work_us=70"), None);
    }

    #[test]
    fn the_list_of_workloads_is_read() {
        let list = parse_list("pair16\tmicro\t1\nserver\tthreads\t2\n").unwrap();
        assert_eq!(list[1], Label { name: "server".into(), group: "threads".into(), threads: 2 });
        assert!(parse_list("pair16 micro 1").is_err());
        assert!(parse_list("pair16\tmicro\tmany").is_err());
    }
}
