//! How the launcher says no: one line with the value and the remedy, and an exit code.

use std::fmt;

/// Wrong usage or a configuration that cannot work.
pub(crate) const EXIT_CONFIGURATION: u8 = 2;
/// The program was found but cannot be executed.
pub(crate) const EXIT_NOT_EXECUTABLE: u8 = 126;
/// The program was not found.
pub(crate) const EXIT_NOT_FOUND: u8 = 127;

/// A refusal: nothing was started.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// Exit code of the launcher.
    pub(crate) exit: u8,
    message: String,
}

impl Failure {
    /// A bad option, variable, directory or size.
    pub(crate) fn configuration(message: impl Into<String>) -> Self {
        Self { exit: EXIT_CONFIGURATION, message: message.into() }
    }

    /// No such program.
    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self { exit: EXIT_NOT_FOUND, message: message.into() }
    }

    /// The program is there but the kernel would refuse it.
    pub(crate) fn not_executable(message: impl Into<String>) -> Self {
        Self { exit: EXIT_NOT_EXECUTABLE, message: message.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// `value` in single quotes, safe to paste into a shell and free of line breaks and other control characters.
///
/// ```text
/// /dev/shm   -> '/dev/shm'
/// it's       -> 'it'\''s'
/// a<newline> -> $'a\n'
/// ```
pub(crate) fn quoted(value: &std::ffi::OsStr) -> String {
    let text = value.to_string_lossy();
    if text.chars().any(char::is_control) {
        let mut out = String::from("$'");
        for c in text.chars() {
            match c {
                '\n' => out.push_str("\\n"),
                '\t' => out.push_str("\\t"),
                '\\' | '\'' => out.extend(['\\', c]),
                c if c.is_control() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
                c => out.push(c),
            }
        }
        out.push('\'');
        return out;
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::quoted;
    use std::ffi::OsStr;

    #[test]
    fn quotes_survive_a_shell() {
        assert_eq!(quoted(OsStr::new("/dev/shm")), "'/dev/shm'");
        assert_eq!(quoted(OsStr::new("it's")), "'it'\\''s'");
        assert_eq!(quoted(OsStr::new("a\nb")), "$'a\\nb'");
        assert_eq!(quoted(OsStr::new("")), "''");
    }
}
