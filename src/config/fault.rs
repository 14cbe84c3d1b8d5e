//! What is wrong with a configuration, and where.

use std::fmt;
use std::path::{Path, PathBuf};

/// One thing that is wrong, for whoever wrote the configuration. It takes one line when displayed, and
/// never holds the value of a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    place: Place,
    message: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    File(PathBuf, Position),
    Environment(&'static str),
    Flag(&'static str),
}

/// A place in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    /// Counted from 1.
    pub(super) line: usize,
    /// In characters, counted from 1.
    pub(super) column: usize,
}

impl Position {
    /// The first character of a file: for faults of the file as a whole.
    pub(super) const START: Self = Self { line: 1, column: 1 };

    /// The place after `text`.
    pub(super) fn after(text: &str) -> Self {
        let last_line = text.rsplit('\n').next().unwrap_or(text);
        Self { line: text.matches('\n').count() + 1, column: last_line.chars().count() + 1 }
    }
}

impl Fault {
    /// Something in a file. The message names the key, the value unless it is a secret, and what was
    /// expected.
    pub(super) fn in_file(file: &Path, position: Position, message: String) -> Self {
        Self { place: Place::File(file.to_owned(), position), message }
    }

    /// A variable of the environment.
    pub(super) fn in_environment(name: &'static str, message: String) -> Self {
        Self { place: Place::Environment(name), message }
    }

    /// A flag of the command line, with its two dashes.
    pub(crate) fn in_flag(flag: &'static str, message: String) -> Self {
        Self { place: Place::Flag(flag), message }
    }

    /// What to sort the faults of one file by.
    pub(super) fn position(&self) -> Option<Position> {
        match self.place {
            Place::File(_, position) => Some(position),
            Place::Environment(_) | Place::Flag(_) => None,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::File(file, at) => write!(f, "{}:{}:{}: ", file.display(), at.line, at.column)?,
            Place::Environment(name) => write!(f, "environment: {name}: ")?,
            Place::Flag(flag) => write!(f, "{flag}: ")?,
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_says_where_it_is() {
        let message = || "is wrong; expected right".to_owned();
        for (fault, expected) in [
            (
                Fault::in_file(Path::new("a/b.yml"), Position { line: 3, column: 7 }, message()),
                "a/b.yml:3:7: is wrong; expected right",
            ),
            (
                Fault::in_environment("WEB_AUTH_TOKEN", message()),
                "environment: WEB_AUTH_TOKEN: is wrong; expected right",
            ),
            (Fault::in_flag("--storage.url", message()), "--storage.url: is wrong; expected right"),
        ] {
            assert_eq!(fault.to_string(), expected);
        }
    }

    #[test]
    fn positions_count_characters_from_one() {
        for (before, line, column) in [("", 1, 1), ("a", 1, 2), ("ş\r\néé", 2, 3), ("a\n", 2, 1)] {
            assert_eq!(Position::after(before), Position { line, column }, "{before:?}");
        }
    }
}
