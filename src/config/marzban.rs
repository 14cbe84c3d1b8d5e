//! `marzban` of the configuration file.

use std::path::Path;

use super::decode::{Decoder, Keys, Section};
use super::file::section;
use super::secret::{Names, secret};
use super::values::check_bearer_token;
use super::{Marzban, Receiver, Signature};

const MARZBAN: Keys = Keys::new(&["secret", "secret_file", "signature", "receiver"]);

/// The section, where it is given. Its receiver must be one of these.
pub(super) fn marzban(
    decoder: &mut Decoder<'_>,
    top: &Section<'_>,
    folder: &Path,
    receivers: &[Receiver],
) -> Option<Marzban> {
    let section = section(decoder, top, "marzban", &MARZBAN)?;
    let names = Names { inline: "secret", file: "secret_file" };
    let secret = secret(decoder, &section, names, folder, check_bearer_token).map(|(secret, _)| secret);
    let signature = decoder.value(section.get("signature").as_ref(), signature).unwrap_or_default();
    let receiver = decoder.value(section.get("receiver").as_ref(), |name| {
        let known = receivers.iter().any(|receiver| receiver.name == name);
        if known { Ok(name.to_owned()) } else { Err(format!("{name:?} is no receiver; expected the name of one")) }
    });
    Some(Marzban { secret, signature, receiver })
}

fn signature(text: &str) -> Result<Signature, String> {
    match text {
        "plain" => Ok(Signature::Plain),
        "hmac" => Ok(Signature::Hmac),
        _ => Err(format!("{text:?} is not known; expected plain or hmac")),
    }
}
