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
/// Functions of the reference; programs and its tests expect exactly these as ordinary symbols.
const FUNCTIONS: [&str; 11] = [
    "malloc",
    "calloc",
    "realloc",
    "free",
    "cfree",
    "memalign",
    "posix_memalign",
    "aligned_alloc",
    "valloc",
    "pvalloc",
    "malloc_usable_size",
];
/// Data of the reference.
const HOOKS: [&str; 4] = ["__malloc_hook", "__realloc_hook", "__memalign_hook", "__free_hook"];
/// Everything else must be weak, and one of these.
const WEAK: &[&str] = &[
    "free_sized",
    "free_aligned_sized",
    "mallinfo",
    "mallinfo2",
    "malloc_stats",
    "malloc_info",
    "malloc_trim",
    "mallopt",
];
/// Weak as well: the delete operators of C++.
const WEAK_PREFIXES: [&str; 2] = ["_ZdlPv", "_ZdaPv"];
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
    problems.extend(exports(&output(
        "nm",
        &["-D", "--defined-only", "--with-symbol-versions"],
        library,
    )?));
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

/// Problems in the output of `nm -D --defined-only`.
fn exports(text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let mut functions = BTreeSet::new();
    let mut data = BTreeSet::new();
    for (kind, name) in symbols(text) {
        match kind {
            _ if name.contains('@') => problems.push(format!("{name} has a version")),
            "T" => {
                functions.insert(name);
            }
            "D" | "B" | "V" => {
                data.insert(name);
            }
            "W" if WEAK.contains(&name)
                || WEAK_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) => {}
            _ => problems.push(format!("{name} ({kind}) is exported")),
        }
    }
    for (what, found, expected) in
        [("functions", functions, &FUNCTIONS[..]), ("data", data, &HOOKS[..])]
    {
        let expected: BTreeSet<&str> = expected.iter().copied().collect();
        if found != expected {
            let missing: Vec<_> = expected.difference(&found).collect();
            let extra: Vec<_> = found.difference(&expected).collect();
            problems.push(format!("exported {what}: missing {missing:?}, too many {extra:?}"));
        }
    }
    problems
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

    fn good_exports() -> String {
        let functions = FUNCTIONS.map(|name| format!("0000000000001000 T {name}\n"));
        let hooks = HOOKS.map(|name| format!("0000000000002000 D {name}\n"));
        functions.concat()
            + &hooks.concat()
            + "0000000000003000 W malloc_trim\n0000000000003000 W _ZdlPvm\n"
    }

    #[test]
    fn the_promised_symbols_pass() {
        assert_eq!(exports(&good_exports()), Vec::<String>::new());
    }

    #[test]
    fn deviations_are_named() {
        let problem = |text: String| exports(&text).join("; ");
        assert!(
            problem(good_exports().replace(" T pvalloc\n", " W pvalloc\n")).contains("pvalloc")
        );
        assert!(problem(good_exports() + "0 T rust_begin_unwind\n").contains("rust_begin_unwind"));
        assert!(
            problem(good_exports() + "0 W rust_eh_personality\n").contains("rust_eh_personality")
        );
        assert!(
            problem(good_exports().replace(" T malloc\n", " T malloc@@V_1\n")).contains("version")
        );
        assert!(
            problem(good_exports().replace("__free_hook", "free_hook")).contains("__free_hook")
        );
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
