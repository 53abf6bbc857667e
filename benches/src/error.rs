//! The one error of the harness: a line for the person at the terminal.

use std::fmt;

/// What went wrong, with the values that matter and, where there is one, the remedy.
#[derive(Debug)]
pub struct Error(String);

/// Result with the harness's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error with this text.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

/// Puts what was attempted in front of a foreign error.
pub trait Context<T> {
    /// Turns the error into "`what`: error".
    ///
    /// # Errors
    /// The error that was there before, with the text in front.
    fn context(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: fmt::Display> Context<T> for std::result::Result<T, E> {
    fn context(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| Error(format!("{}: {error}", what())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn context_goes_in_front_of_the_cause() {
        let missing = std::fs::read("/nonexistent/file").context(|| "input".to_owned());
        assert_eq!(
            missing.unwrap_err().to_string(),
            "input: No such file or directory (os error 2)"
        );
    }
}
