//! Takes the tree of a file apart and collects everything that is wrong with it on the way.
//!
//! A value that cannot be used becomes a fault and `None`; the caller goes on with whatever stands in
//! for it, because a configuration with faults is thrown away as a whole.

use std::collections::HashMap;
use std::path::Path;

use super::fault::{Fault, Position};
use super::yaml::{Node, Value};
use crate::notify::client::presentable;

/// The longest text that any key takes.
const MAX_TEXT: usize = 4096;

/// Messages of other parsers that are longer are cut.
const MAX_FOREIGN_MESSAGE: usize = 200;

/// The faults and warnings of one file.
pub(super) struct Decoder<'f> {
    file: &'f Path,
    faults: Vec<Fault>,
    /// Faults in files that this one names.
    elsewhere: Vec<Fault>,
    warnings: Vec<Fault>,
}

/// A value with the path of keys that leads to it, such as `accounts[0].name`.
#[derive(Clone)]
pub(super) struct Field<'n> {
    pub(super) path: String,
    pub(super) node: &'n Node,
    /// Where its key stands; where the value does when it has none.
    key: Position,
}

/// A mapping whose keys are all known.
pub(super) struct Section<'n> {
    pub(super) path: String,
    /// Where its first key stands.
    pub(super) position: Position,
    fields: Vec<(&'n str, Field<'n>)>,
}

/// The keys of a mapping.
pub(super) struct Keys {
    /// Those that are read.
    pub(super) known: &'static [&'static str],
    /// Those that others know and this program does not, with the reason.
    pub(super) unsupported: &'static [(&'static str, &'static str)],
}

impl Keys {
    pub(super) const fn new(known: &'static [&'static str]) -> Self {
        Self { known, unsupported: &[] }
    }
}

impl<'n> Field<'n> {
    /// The file as a whole.
    pub(super) fn root(node: &'n Node) -> Self {
        Self { path: String::new(), node, key: node.position }
    }

    /// Whether it is `key:` with nothing behind it, or `null`.
    pub(super) fn is_null(&self) -> bool {
        matches!(self.node.value, Value::Null)
    }

    /// Whether it asks for nothing: null or an empty list.
    pub(super) fn is_nothing(&self) -> bool {
        match &self.node.value {
            Value::Null => true,
            Value::List(items) => items.is_empty(),
            Value::Scalar(_) | Value::Map(_) => false,
        }
    }
}

impl<'n> Section<'n> {
    /// The value of a key, where it is given and not null: null stands for the default.
    pub(super) fn get(&self, key: &str) -> Option<Field<'n>> {
        self.get_or_null(key).filter(|field| !field.is_null())
    }

    /// The value of a key, null too.
    pub(super) fn get_or_null(&self, key: &str) -> Option<Field<'n>> {
        self.fields.iter().find(|(name, _)| *name == key).map(|(_, field)| field.clone())
    }

    /// All keys with their values.
    pub(super) fn into_fields(self) -> Vec<(&'n str, Field<'n>)> {
        self.fields
    }
}

impl<'f> Decoder<'f> {
    pub(super) fn new(file: &'f Path) -> Self {
        Self { file, faults: Vec::new(), elsewhere: Vec::new(), warnings: Vec::new() }
    }

    /// What was decoded with its warnings, or all faults; both in the order of the file, and the faults in
    /// other files at the end.
    pub(super) fn finish<T>(mut self, decoded: Option<T>) -> Result<(T, Vec<Fault>), Vec<Fault>> {
        self.faults.sort_by_key(Fault::position);
        self.faults.append(&mut self.elsewhere);
        self.warnings.sort_by_key(Fault::position);
        match decoded {
            Some(decoded) if self.faults.is_empty() => Ok((decoded, self.warnings)),
            _ => Err(self.faults),
        }
    }

    /// Something is wrong at a place.
    pub(super) fn fault(&mut self, position: Position, message: String) {
        self.faults.push(Fault::in_file(self.file, position, message));
    }

    /// A value is wrong.
    pub(super) fn wrong(&mut self, field: &Field<'_>, message: &str) {
        self.fault(field.node.position, format!("{}: {message}", field.path));
    }

    /// A line of a file that a value names is wrong.
    pub(super) fn wrong_elsewhere(&mut self, file: &Path, line: usize, field: &Field<'_>, message: &str) {
        let message = presentable(message, MAX_FOREIGN_MESSAGE);
        let message = format!("{}: {message}; expected a template without faults", field.path);
        self.elsewhere.push(Fault::in_file(file, Position { line, column: 1 }, message));
    }

    /// A value is odd and can be used.
    pub(super) fn warn(&mut self, field: &Field<'_>, message: &str) {
        self.warnings.push(Fault::in_file(self.file, field.node.position, format!("{}: {message}", field.path)));
    }

    /// A mapping with a fixed set of keys; null is one without any.
    pub(super) fn section<'n>(&mut self, field: &Field<'n>, keys: &Keys) -> Option<Section<'n>> {
        let mut section = self.open_section(field)?;
        section.fields.retain(|(key, value)| self.is_known(field, key, value, keys));
        Some(section)
    }

    /// A mapping whose keys are for the user to choose; null is one without any.
    pub(super) fn open_section<'n>(&mut self, field: &Field<'n>) -> Option<Section<'n>> {
        let entries = match &field.node.value {
            Value::Null => &[],
            Value::Map(entries) => entries.as_slice(),
            Value::Scalar(_) | Value::List(_) => {
                self.unexpected(field, "a mapping (KEY: VALUE)");
                return None;
            }
        };
        let mut section = Section { path: field.path.clone(), position: field.node.position, fields: Vec::new() };
        let mut first_lines = HashMap::new();
        for (key, node) in entries {
            let Value::Scalar(name) = &key.value else {
                self.fault(key.position, prefixed(&field.path, "a key is no text; expected KEY: VALUE"));
                continue;
            };
            if let Some(line) = first_lines.get(name) {
                let name = shown(name).map(|name| format!(" {name:?}")).unwrap_or_default();
                let message = format!("duplicate key{name}; expected only the one on line {line}");
                self.fault(key.position, prefixed(&field.path, &message));
                continue;
            }
            first_lines.insert(name, key.position.line);
            section.fields.push((name, Field { path: join(&field.path, name), node, key: key.position }));
        }
        Some(section)
    }

    fn is_known(&mut self, section: &Field<'_>, key: &str, value: &Field<'_>, keys: &Keys) -> bool {
        if keys.known.contains(&key) {
            return true;
        }
        if let Some((_, why)) = keys.unsupported.iter().find(|(name, _)| *name == key) {
            if !value.is_nothing() {
                self.fault(value.key, format!("{}: {why}", value.path));
            }
            return false;
        }
        let expected = keys.known.join(", ");
        let message = match (shown(key), closest(key, keys.known)) {
            (Some(key), Some(near)) => {
                format!("unknown key {key:?}, did you mean {near:?}? expected one of {expected}")
            }
            (Some(key), None) => format!("unknown key {key:?}; expected one of {expected}"),
            (None, _) => format!("unknown key, is there a space after its colon? expected one of {expected}"),
        };
        self.fault(value.key, prefixed(&section.path, &message));
        false
    }

    /// The items of a list; none when it is null or not given.
    pub(super) fn items<'n>(&mut self, field: Option<Field<'n>>) -> Vec<Field<'n>> {
        let Some(field) = field else { return Vec::new() };
        let Value::List(items) = &field.node.value else {
            self.unexpected(&field, "a list ([A, B], or a line beginning with - for each)");
            return Vec::new();
        };
        let path = |index| format!("{}[{index}]", field.path);
        let item = |(index, node): (usize, &'n Node)| Field { path: path(index), node, key: node.position };
        items.iter().enumerate().map(item).collect()
    }

    /// A value that is one text, number or the like, as it is written.
    pub(super) fn text<'n>(&mut self, field: &Field<'n>) -> Option<&'n str> {
        match &field.node.value {
            Value::Scalar(text) if text.len() > MAX_TEXT => {
                self.wrong(field, "is too long; expected at most 4096 bytes");
                None
            }
            Value::Scalar(text) => Some(text),
            Value::Null => {
                self.wrong(field, "is empty; expected a text");
                None
            }
            Value::List(_) | Value::Map(_) => {
                self.unexpected(field, "a text");
                None
            }
        }
    }

    /// A value of its own form; the error of `parse` says what is wrong with the text and what was
    /// expected.
    pub(super) fn value<T>(
        &mut self,
        field: Option<&Field<'_>>,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let field = field?;
        match parse(self.text(field)?) {
            Ok(value) => Some(value),
            Err(message) => {
                self.wrong(field, &message);
                None
            }
        }
    }

    /// The kind of node is wrong. What it holds is not shown: it may be a secret under a wrong key.
    fn unexpected(&mut self, field: &Field<'_>, expected: &str) {
        let found = match &field.node.value {
            Value::Null => "nothing",
            Value::Scalar(_) => "a text",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        };
        let path = if field.path.is_empty() { "the file" } else { &field.path };
        self.fault(field.node.position, format!("{path}: is {found}; expected {expected}"));
    }
}

fn join(path: &str, key: &str) -> String {
    let key = shown(key).unwrap_or("(a key)");
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// A key that looks like a name. Another one is not shown: `{token:SECRET}` without the space is a key.
fn shown(key: &str) -> Option<&str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-.@".contains(c);
    ((1..=64).contains(&key.len()) && key.chars().all(plain)).then_some(key)
}

fn prefixed(path: &str, message: &str) -> String {
    if path.is_empty() { message.to_owned() } else { format!("{path}: {message}") }
}

/// The known name that somebody may have meant.
fn closest(name: &str, known: &[&'static str]) -> Option<&'static str> {
    let simple = |text: &str| text.to_ascii_lowercase().replace('-', "_");
    let distance = |candidate: &&str| strsim::osa_distance(&simple(name), candidate);
    let nearest = known.iter().copied().min_by_key(distance)?;
    let tolerated = nearest.len().div_ceil(4).min(3);
    (name.len() <= 64 && distance(&nearest) <= tolerated).then_some(nearest)
}
