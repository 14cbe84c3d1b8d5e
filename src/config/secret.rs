//! Secrets, given as `NAME` or as a file in `NAME_file`.

use std::path::Path;

use secrecy::SecretString;

use super::decode::{Decoder, Field, Section};
use super::{read, values};

/// The two keys of a secret.
#[derive(Clone, Copy)]
pub(super) struct Names {
    pub(super) inline: &'static str,
    pub(super) file: &'static str,
}

/// What is wrong with a secret. Fixed texts, so that the secret cannot be in them.
pub(super) type Check = fn(&str) -> Result<(), &'static str>;

/// The secret of a section with the field that it came from, if one of its keys is given and usable.
/// A null is no secret but a slip: a template that had nothing to put there.
pub(super) fn secret<'n>(
    decoder: &mut Decoder<'_>,
    section: &Section<'n>,
    names: Names,
    folder: &Path,
    check: Check,
) -> Option<(SecretString, Field<'n>)> {
    let (field, text) = match (section.get_or_null(names.inline), section.get_or_null(names.file)) {
        (None, None) => return None,
        (Some(_), Some(file)) => {
            let message = format!("{} is given too; expected only one of the two", names.inline);
            decoder.wrong(&file, &message);
            return None;
        }
        (Some(field), None) => {
            let text = decoder.text(&field)?.to_owned();
            (field, text)
        }
        (None, Some(field)) => {
            let path = decoder.value(Some(&field), values::path)?;
            let path = folder.join(path);
            match read::secret(&path) {
                Ok(text) => (field, text),
                Err(error) => {
                    let message =
                        format!("cannot read {}: {error}; expected a file with the secret", read::quoted(&path));
                    decoder.wrong(&field, &message);
                    return None;
                }
            }
        }
    };
    match usable(&text, check) {
        Ok(secret) => Some((secret, field)),
        Err(message) => {
            decoder.wrong(&field, message);
            None
        }
    }
}

/// A secret without the white space at its end, such as the line break of its file.
pub(super) fn usable(text: &str, check: Check) -> Result<SecretString, &'static str> {
    let secret = text.trim_end();
    if secret.is_empty() {
        return Err("is empty; expected a secret");
    }
    check(secret)?;
    Ok(SecretString::from(secret))
}
