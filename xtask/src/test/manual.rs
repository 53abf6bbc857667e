//! The manual pages: formatted without a warning.

use super::Outcome;
use crate::{Stop, programs, workspace};
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Formats every page of `docs/man` with all warnings on.
pub(crate) fn check() -> Result<Outcome, Stop> {
    if programs::find("man").is_none() || programs::find("groff").is_none() {
        return Ok(Outcome::NotChecked(
            "man or groff is missing (Debian: man-db groff-base)".into(),
        ));
    }
    let mut pages: Vec<PathBuf> = fs::read_dir(workspace::root().join("docs/man"))?
        .flatten()
        .map(|entry| entry.path())
        .collect();
    pages.sort();
    let mut problems = Vec::new();
    for page in &pages {
        let output = Command::new("man")
            .args(["--warnings", "-E", "UTF-8", "-Tutf8", "-l"])
            .arg(page)
            .env("LC_ALL", "C.UTF-8")
            .env("MANROFFSEQ", "")
            .env("MANWIDTH", "80")
            .stdin(Stdio::null())
            .output()?;
        let name = page.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let warnings = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() || !warnings.trim().is_empty() {
            problems.push(format!("{name}: {} {}", output.status, warnings.trim()));
        } else if output.stdout.is_empty() {
            problems.push(format!("{name}: comes out empty"));
        }
    }
    if pages.is_empty() {
        problems.push("docs/man has no pages".into());
    }
    Ok(if problems.is_empty() {
        Outcome::Passed(None)
    } else {
        Outcome::Failed(None, problems.join("; "))
    })
}
