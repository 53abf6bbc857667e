//! Runs the cases of a C program (see `c/case.h`), each in a process of its own.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::preload::{Pool, plain};
use crate::run::{Outcome, SHORT, run};

/// Which cases of a program run, and how long each may take.
pub struct Cases<'p> {
    program: &'p Path,
    /// What can be asked for the names of the cases.
    lister: &'p Path,
    chosen: Box<dyn Fn(&str) -> bool + 'p>,
    limit: Duration,
    arguments: Vec<&'p OsStr>,
}

impl<'p> Cases<'p> {
    /// All cases of `program`.
    #[must_use]
    pub fn of(program: &'p Path) -> Self {
        Self {
            program,
            lister: program,
            chosen: Box::new(|_| true),
            limit: SHORT,
            arguments: Vec::new(),
        }
    }

    /// Only the cases whose name `chosen` accepts.
    #[must_use]
    pub fn only(mut self, chosen: impl Fn(&str) -> bool + 'p) -> Self {
        self.chosen = Box::new(chosen);
        self
    }

    /// Asks another build of the same program for the names: this one does not run without a pool.
    #[must_use]
    pub fn listed_by(mut self, lister: &'p Path) -> Self {
        self.lister = lister;
        self
    }

    /// Time limit of each case.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// An argument every case gets after its name.
    #[must_use]
    pub fn argument(mut self, argument: &'p (impl AsRef<OsStr> + ?Sized)) -> Self {
        self.arguments.push(argument.as_ref());
        self
    }

    /// Runs them in `pool`.
    ///
    /// # Panics
    ///
    /// With the name and story of each failing case.
    pub fn run(&self, pool: &Pool) {
        self.run_with(|command| {
            pool.preload(command);
        });
    }

    /// Runs them with whatever environment `prepare` gives.
    ///
    /// # Panics
    ///
    /// With the name and story of each failing case.
    pub fn run_with(&self, prepare: impl Fn(&mut Command)) {
        let names = self.names();
        let failures: Vec<(String, Outcome)> = names
            .iter()
            .filter_map(|name| {
                let mut command = Command::new(self.program);
                prepare(command.arg(name).args(&self.arguments));
                let outcome = run(&mut command, self.limit);
                (!passed(name, &outcome)).then(|| (name.clone(), outcome))
            })
            .collect();
        let Some((_, first)) = failures.first() else { return };
        let mut story = format!("{} of {} cases failed", failures.len(), names.len());
        // Only the first command: the others have the same environment.
        story.push_str(&format!(", the first by\n{}", first.command));
        for (name, outcome) in &failures {
            story.push_str(&format!("\ncase {name}: {}", outcome.ending()));
        }
        panic!("{story}");
    }

    /// The names of the chosen cases, as the program lists them without any pool.
    fn names(&self) -> Vec<String> {
        let list = run(plain(Command::new(self.lister).arg("--list")), SHORT).success();
        let names: Vec<String> =
            list.out().lines().filter(|name| (self.chosen)(name)).map(str::to_owned).collect();
        assert!(!names.is_empty(), "no case of {} was chosen", self.program.display());
        names
    }
}

/// A case that passes exits with 0 and says `ok NAME` last.
fn passed(name: &str, outcome: &Outcome) -> bool {
    outcome.code() == Some(0) && outcome.out().lines().last() == Some(&format!("ok {name}"))
}
