//! Tells how far long work is: one line that is written over on a terminal, a line now and then elsewhere.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// Time between lines where they cannot be written over.
const PAUSE: Duration = Duration::from_secs(15);

/// Progress of one piece of work.
pub struct Progress {
    title: String,
    start: Instant,
    told: Option<Instant>,
    is_terminal: bool,
}

impl Progress {
    /// Begins; `title` stands in front of each line.
    pub fn new(title: &str) -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        Self { title: title.to_owned(), start: Instant::now(), told: None, is_terminal }
    }

    /// Tells what comes next and how much is done, from 0 to 1.
    pub fn show(&mut self, what: &str, done: f64) {
        let now = Instant::now();
        if !self.is_terminal && self.told.is_some_and(|told| now - told < PAUSE) {
            return;
        }
        self.told = Some(now);
        let line = line(&self.title, what, done, now - self.start);
        // Progress that cannot be told is no reason to stop.
        let _ = if self.is_terminal {
            write!(std::io::stderr(), "\r\x1b[K{line}")
        } else {
            writeln!(std::io::stderr(), "{line}")
        };
        let _ = std::io::stderr().flush();
    }

    /// Ends the line that is written over, and tells how long it took.
    pub fn finish(&mut self) {
        let took = duration(self.start.elapsed());
        let start = if self.is_terminal { "\r\x1b[K" } else { "" };
        let _ = writeln!(std::io::stderr(), "{start}{}: done in {took}", self.title);
    }
}

fn line(title: &str, what: &str, done: f64, elapsed: Duration) -> String {
    let mut text = format!("{title}: {:3.0} %", done * 100.0);
    // Too early, a guess would jump about.
    if done > 0.01 && done < 1.0 {
        let left = elapsed.mul_f64((1.0 - done) / done);
        text.push_str(&format!(", {} left", duration(left)));
    }
    format!("{text}, {what}")
}

fn duration(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        seconds => format!("{} h {:02} min", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_follows_from_the_time_gone() {
        let text = line("matrix", "round 1 of 4: lua", 0.25, Duration::from_secs(60));
        assert_eq!(text, "matrix:  25 %, 3 min 00 s left, round 1 of 4: lua");
        let text = line("matrix", "round 1 of 4: lua", 0.0, Duration::from_secs(60));
        assert_eq!(text, "matrix:   0 %, round 1 of 4: lua");
    }

    #[test]
    fn times_are_readable() {
        assert_eq!(duration(Duration::from_millis(1234)), "1 s");
        assert_eq!(duration(Duration::from_secs(125)), "2 min 05 s");
        assert_eq!(duration(Duration::from_secs(7_300)), "2 h 01 min");
    }
}
