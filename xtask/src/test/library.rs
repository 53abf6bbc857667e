//! What the interposer promises as a file: its SONAME, what it needs, what it exports, and how big it is.

use super::Outcome;
use super::runner::Runner;
use crate::{Stop, workspace};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Largest stripped file, in bytes.
const MAX_BYTES: u64 = 200 * 1024;
/// Its name for the dynamic loader.
const SONAME: &str = "libvmmalloc.so.1";
/// The committed list of dynamic symbols: one `LETTER name` a line, as `nm -D` shows them.
const EXPORTS: &str = "tests/abi/libvmmalloc.symbols";
/// Calls that must not be there: dynamic thread-local storage may allocate, and unwinding needs another library.
const FORBIDDEN: [&str; 3] = ["__tls_get_addr", "_Unwind_", "dlsym"];

/// Builds the release library and the launcher, and checks the library.
pub(crate) fn check(runner: &Runner, name: &str) -> Result<Outcome, Stop> {
    let mut build = workspace::cargo();
    build.args(["build", "--release", "-p", "vmmalloc", "-p", "vmmalloc-launcher"]);
    let built = runner.run(name, &mut build)?;
    if !matches!(built, Outcome::Passed(_)) {
        return Ok(built);
    }
    let release = runner.target_dir.join("release");
    let mut problems = Vec::new();
    if !release.join("vmmalloc").is_file() {
        problems.push("the build leaves no launcher".to_owned());
    }
    match inspect(&release.join("libvmmalloc.so"), &release.join("libvmmalloc.stripped")) {
        Ok(found) => problems.extend(found),
        Err(Stop::Missing(tool)) => {
            return Ok(Outcome::NotChecked(format!("{tool} is missing (Debian: binutils)")));
        }
        Err(stop) => return Err(stop),
    }
    if problems.is_empty() {
        Ok(Outcome::Passed(None))
    } else {
        Ok(Outcome::Failed(None, problems.join("; ")))
    }
}

fn inspect(library: &Path, stripped: &Path) -> Result<Vec<String>, Stop> {
    let mut problems = dynamic_section(&output("readelf", &["-dW"], library)?);
    let defined = output("nm", &["-D", "--defined-only", "--with-symbol-versions"], library)?;
    problems.extend(exports(&defined, &fs::read_to_string(workspace::root().join(EXPORTS))?));
    problems.extend(imports(&output("nm", &["-D", "--undefined-only"], library)?));
    let status = Command::new("strip").arg("-o").arg(stripped).arg(library).status();
    if !status.map_err(|_| Stop::Missing("strip".into()))?.success() {
        return Err(Stop::Failed("strip failed".into()));
    }
    let bytes = fs::metadata(stripped)?.len();
    fs::remove_file(stripped)?;
    if bytes >= MAX_BYTES {
        problems.push(format!("{bytes} bytes when stripped, which is not below {MAX_BYTES}"));
    }
    Ok(problems)
}

fn output(tool: &str, arguments: &[&str], library: &Path) -> Result<String, Stop> {
    let output = Command::new(tool)
        .args(arguments)
        .arg(library)
        .env("LC_ALL", "C")
        .output()
        .map_err(|_| Stop::Missing(tool.to_owned()))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(Stop::Failed(format!("{tool}: {text}")));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Problems in the output of `readelf -d`.
fn dynamic_section(text: &str) -> Vec<String> {
    let values = |tag: &str| -> Vec<&str> {
        let tag = format!("({tag})");
        text.lines()
            .filter(|line| line.contains(&tag))
            .filter_map(|line| Some(line.split_once('[')?.1.split_once(']')?.0))
            .collect()
    };
    let mut problems = Vec::new();
    if values("SONAME") != [SONAME] {
        problems.push(format!("the SONAME is {:?}, not {SONAME}", values("SONAME")));
    }
    if values("NEEDED") != ["libc.so.6"] {
        problems.push(format!("it needs {:?}, not just libc.so.6", values("NEEDED")));
    }
    problems
}

/// Differences between the output of `nm -D --defined-only` and the committed list.
fn exports(text: &str, committed: &str) -> Vec<String> {
    let found: BTreeSet<String> =
        symbols(text).map(|(kind, name)| format!("{kind} {name}")).collect();
    let lines = committed.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let expected: BTreeSet<String> = lines.map(str::to_owned).collect();
    let missing = expected.difference(&found).map(|symbol| format!("'{symbol}' is not exported"));
    let extra = found.difference(&expected).map(|symbol| format!("'{symbol}' is exported"));
    missing.chain(extra).collect()
}

/// Problems in the output of `nm -D --undefined-only`.
fn imports(text: &str) -> Vec<String> {
    symbols(text)
        .filter(|(_, name)| FORBIDDEN.iter().any(|forbidden| name.starts_with(forbidden)))
        .map(|(_, name)| format!("it calls {name}"))
        .collect()
}

/// Kind and name of each line of `nm`.
fn symbols(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(|line| {
        let mut words = line.split_whitespace().rev();
        let name = words.next()?;
        Some((words.next()?, name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMITTED: &str = "# comment\nT malloc\nW malloc_trim\n";

    #[test]
    fn the_promised_symbols_pass() {
        let found = "0000000000001000 T malloc\n0000000000001010 W malloc_trim\n";
        assert_eq!(exports(found, COMMITTED), Vec::<String>::new());
    }

    #[test]
    fn deviations_are_named() {
        let problems = |text: &str| exports(text, COMMITTED).join("; ");
        assert_eq!(problems("0 T malloc\n"), "'W malloc_trim' is not exported");
        assert_eq!(problems("0 T malloc\n0 W malloc_trim\n0 T x\n"), "'T x' is exported");
        assert!(problems("0 T malloc@@V_1\n0 W malloc_trim\n").contains("'T malloc@@V_1'"));
        assert!(problems("0 W malloc\n0 W malloc_trim\n").contains("'W malloc' is exported"));
    }

    #[test]
    fn needs_and_name_are_checked() {
        let good = " 0x01 (NEEDED)  Shared library: [libc.so.6]\n 0x0e (SONAME)  Library soname: [libvmmalloc.so.1]\n";
        assert_eq!(dynamic_section(good), Vec::<String>::new());
        let more = format!("{good} 0x01 (NEEDED)  Shared library: [libgcc_s.so.1]\n");
        assert_eq!(dynamic_section(&more).len(), 1);
        assert_eq!(dynamic_section("").len(), 2);
    }

    #[test]
    fn dynamic_tls_is_refused() {
        assert_eq!(
            imports("                 U mmap\n                 w __asan_init\n"),
            Vec::<String>::new()
        );
        assert_eq!(imports("                 U __tls_get_addr@GLIBC_2.3\n").len(), 1);
    }
}
