//! Lines of the logs that the debug twins write.

/// A line `<LIBRARY>: <LEVEL> [FILE:LINE FUNCTION] TEXT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// How important it is: 1 is the most.
    pub level: u32,
    /// The function that wrote it.
    pub function: String,
    /// What it says.
    pub text: String,
}

impl LogLine {
    /// Takes a line apart.
    ///
    /// # Panics
    ///
    /// When it is not a line of this library's log.
    #[must_use]
    pub fn of(library: &str, line: &str) -> Self {
        let fields = || {
            let rest = line.strip_prefix(&format!("<{library}>: <"))?;
            let (level, rest) = rest.split_once("> [")?;
            let (place, text) = rest.split_once("] ")?;
            let (file, function) = place.split_once(' ')?;
            let (file, number) = file.split_once(':')?;
            let is_place = file.ends_with(".rs") && number.parse::<u32>().is_ok();
            let (level, text) = (level.parse().ok()?, text.trim_start().to_owned());
            is_place.then(|| Self { level, function: function.to_owned(), text })
        };
        fields().unwrap_or_else(|| panic!("not a line of the log of {library}: {line}"))
    }

    /// All lines of a log.
    #[must_use]
    pub fn all(library: &str, log: &str) -> Vec<Self> {
        log.lines().map(|line| Self::of(library, line)).collect()
    }
}
