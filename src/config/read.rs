//! Reads the files that a configuration consists of, each against a bound.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::fault::{Fault, Position};

const MAX_CONFIG_BYTES: u64 = 1024 * 1024;

const MAX_SECRET_BYTES: u64 = 64 * 1024;

/// The built-in templates have 10 KiB at most.
const MAX_TEMPLATE_BYTES: u64 = 64 * 1024;

/// A bundle of all well-known certificate authorities has about 200 KiB.
const MAX_PEM_BYTES: u64 = 1024 * 1024;

/// The text of a YAML file.
pub(super) fn yaml(file: &Path) -> Result<String, Fault> {
    let bytes = bytes(file, MAX_CONFIG_BYTES).map_err(|error| {
        Fault::in_file(file, Position::START, format!("cannot be read: {error}; expected a YAML file"))
    })?;
    String::from_utf8(bytes).map_err(|error| {
        let (valid, _) = error.as_bytes().split_at(error.utf8_error().valid_up_to());
        let position = Position::after(&String::from_utf8_lossy(valid));
        Fault::in_file(file, position, "is not UTF-8; expected a YAML file in UTF-8".to_owned())
    })
}

/// The text of a secret's file, as it is.
pub(super) fn secret(file: &Path) -> io::Result<String> {
    text(file, MAX_SECRET_BYTES)
}

/// A file of templates.
pub(super) fn template(file: &Path) -> io::Result<String> {
    text(file, MAX_TEMPLATE_BYTES)
}

/// A file of certificates or of a private key.
pub(super) fn pem(file: &Path) -> io::Result<Vec<u8>> {
    bytes(file, MAX_PEM_BYTES)
}

/// A path for a message: in quotes, so that it stays on its line.
pub(super) fn quoted(path: &Path) -> String {
    format!("{:?}", path.to_string_lossy())
}

fn text(file: &Path, most: u64) -> io::Result<String> {
    String::from_utf8(bytes(file, most)?).map_err(|_| io::Error::other("it is not UTF-8"))
}

fn bytes(file: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(file)?.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::other(format!("it has more than {most} bytes")));
    }
    Ok(bytes)
}
