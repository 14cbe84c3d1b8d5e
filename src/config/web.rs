//! The file of `--web.config.file`, in the format of Prometheus' exporter-toolkit.
//!
//! What that format knows and this program cannot do is refused: somebody who asks for a cipher suite
//! or a client certificate must not believe to have it.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use bcrypt::HashParts;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use secrecy::SecretString;

use super::decode::{Decoder, Field, Keys, Section};
use super::fault::Fault;
use super::{ClientAuth, Tls, WebConfig, read, values, yaml};

const INLINE: &str = "is not supported; expected a file, in the key that ends in _file";
const CIPHERS: &str = "is not supported: the TLS library chooses; expected nothing here";
const SANS: &str = "is not supported; expected nothing here, and a CA in client_ca_file that signs only wanted clients";
const HEADERS: &str = "is not supported; expected nothing here, and a reverse proxy that adds headers";
const RATE_LIMIT: &str = "is not supported; expected nothing here, and a reverse proxy that limits rates";

const TOP: Keys = Keys {
    known: &["tls_server_config", "http_server_config", "basic_auth_users"],
    unsupported: &[("rate_limit", RATE_LIMIT)],
};

const TLS: Keys = Keys {
    known: &["cert_file", "key_file", "client_auth_type", "client_ca_file", "min_version", "max_version"],
    unsupported: &[
        ("cert", INLINE),
        ("key", INLINE),
        ("client_ca", INLINE),
        ("client_allowed_sans", SANS),
        ("cipher_suites", CIPHERS),
        ("curve_preferences", CIPHERS),
        ("prefer_server_cipher_suites", CIPHERS),
    ],
};

const HTTP: Keys = Keys { known: &["http2"], unsupported: &[("headers", HEADERS)] };

/// Each step doubles the time that a login takes; a cost of 16 takes seconds.
const BCRYPT_COSTS: RangeInclusive<u32> = 4..=16;

/// Reads and checks the file and the certificates that it names.
pub(super) fn load(file: &Path) -> Result<WebConfig, Vec<Fault>> {
    let text = read::yaml(file).map_err(|fault| vec![fault])?;
    decode(file, &text)
}

/// Checks the text of a file. The files that it names are relative to the folder that `file` is in.
pub(super) fn decode(file: &Path, text: &str) -> Result<WebConfig, Vec<Fault>> {
    let mut decoder = Decoder::new(file);
    let root = yaml::parse(text).map_err(|error| vec![Fault::in_file(file, error.position, error.message)])?;
    let folder = file.parent().unwrap_or(Path::new(""));
    let config = decoder.section(&Field::root(&root), &TOP).map(|top| web_config(&mut decoder, &top, folder));
    decoder.finish(config).map(|(web_config, _)| web_config)
}

fn web_config(decoder: &mut Decoder<'_>, top: &Section<'_>, folder: &Path) -> WebConfig {
    // Nothing behind these must not switch off what protects the server by accident.
    for key in ["tls_server_config", "basic_auth_users"] {
        if let Some(field) = top.get_or_null(key).filter(Field::is_null) {
            decoder.wrong(&field, "is empty; remove the key, or fill it");
        }
    }
    let tls = top.get("tls_server_config").and_then(|field| decoder.section(&field, &TLS));
    let tls = tls.and_then(|section| tls_config(decoder, &section, folder));
    if let Some(http) = top.get("http_server_config").and_then(|field| decoder.section(&field, &HTTP)) {
        // Only HTTP/1 is spoken, which every client of HTTP/2 speaks too, so either answer will do.
        decoder.value(http.get("http2").as_ref(), boolean);
    }
    let users = top.get("basic_auth_users").and_then(|field| decoder.open_section(&field));
    let users = users.map(Section::into_fields).unwrap_or_default();
    let basic_auth_users = users.iter().filter_map(|(name, field)| user(decoder, name, field)).collect();
    WebConfig { tls, basic_auth_users }
}

fn tls_config(decoder: &mut Decoder<'_>, section: &Section<'_>, folder: &Path) -> Option<Tls> {
    let cert_file = pem_file(decoder, section, "cert_file", folder, has_certificate);
    let key_file = pem_file(decoder, section, "key_file", folder, has_key);
    for (key, path) in [("cert_file", &cert_file), ("key_file", &key_file)] {
        if path.is_none() && section.get(key).is_none() {
            let message = format!("{}: {key} is missing; expected {key}: FILE", section.path);
            decoder.fault(section.position, message);
        }
    }
    let client_auth = client_auth(decoder, section, folder);
    let min_version_13 = decoder.value(section.get("min_version").as_ref(), min_version).unwrap_or(false);
    decoder.value(section.get("max_version").as_ref(), max_version);
    Some(Tls { cert_file: cert_file?, key_file: key_file?, client_auth: client_auth?, min_version_13 })
}

fn client_auth(decoder: &mut Decoder<'_>, section: &Section<'_>, folder: &Path) -> Option<ClientAuth> {
    let auth_type = section.get("client_auth_type");
    let ca_field = section.get("client_ca_file");
    let ca_file = pem_file(decoder, section, "client_ca_file", folder, has_certificate);
    let with_ca: fn(PathBuf) -> ClientAuth = match &auth_type {
        None => |_| ClientAuth::None,
        Some(field) => decoder.value(Some(field), client_auth_type)?,
    };
    let verifies = with_ca(PathBuf::new()) != ClientAuth::None;
    match (verifies, ca_field) {
        (false, None) => Some(ClientAuth::None),
        (false, Some(ca)) => {
            decoder.wrong(
                &ca,
                "is of no use, as client certificates are not verified; expected client_auth_type \
                 RequireAndVerifyClientCert or VerifyClientCertIfGiven",
            );
            None
        }
        (true, None) => {
            let field = auth_type?;
            decoder.wrong(&field, "needs a CA to verify client certificates with; expected client_ca_file: FILE");
            None
        }
        (true, Some(_)) => ca_file.map(with_ca),
    }
}

/// The constructor of a `client_auth_type`, from the path of its CA.
fn client_auth_type(text: &str) -> Result<fn(PathBuf) -> ClientAuth, String> {
    const EXPECTED: &str = "expected NoClientCert, VerifyClientCertIfGiven or RequireAndVerifyClientCert";
    match text {
        "NoClientCert" => Ok(|_| ClientAuth::None),
        "VerifyClientCertIfGiven" => Ok(ClientAuth::VerifyIfGiven),
        "RequireAndVerifyClientCert" => Ok(ClientAuth::Require),
        "RequestClientCert" | "RequireAnyClientCert" => {
            Err(format!("{text:?} is not supported, as it verifies nothing; {EXPECTED}"))
        }
        _ => Err(format!("{text:?} is not known; {EXPECTED}")),
    }
}

fn min_version(text: &str) -> Result<bool, String> {
    match text {
        "TLS12" => Ok(false),
        "TLS13" => Ok(true),
        "TLS10" | "TLS11" => Err(format!("{text:?} is not supported, as it is not safe; expected TLS12 or TLS13")),
        _ => Err(format!("{text:?} is not known; expected TLS12 or TLS13")),
    }
}

fn max_version(text: &str) -> Result<(), String> {
    match text {
        "TLS13" => Ok(()),
        "TLS10" | "TLS11" | "TLS12" => Err(format!("{text:?} is not supported; expected TLS13 or nothing here")),
        _ => Err(format!("{text:?} is not known; expected TLS13")),
    }
}

fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(format!("{text:?} is no boolean; expected true or false")),
    }
}

/// One line of `basic_auth_users`. The hash is as good as the password to whoever has time.
fn user(decoder: &mut Decoder<'_>, name: &str, field: &Field<'_>) -> Option<(String, SecretString)> {
    if name.is_empty() || name.contains(|c: char| c == ':' || c.is_control()) {
        decoder.wrong(
            field,
            "the user name is empty or has a colon or control characters, and can never log in; expected another",
        );
        return None;
    }
    let hash = decoder.text(field)?;
    let problem = match HashParts::from_str(hash) {
        Ok(parts) if BCRYPT_COSTS.contains(&parts.get_cost()) => {
            return Some((name.to_owned(), SecretString::from(hash)));
        }
        Ok(_) => "is a bcrypt hash of a cost that is not supported; expected a cost from 4 to 16",
        Err(_) => "is no bcrypt hash; expected one as `htpasswd -nBC 10 USER` prints it after the colon",
    };
    decoder.wrong(field, problem);
    None
}

/// The path of a PEM file that holds what is expected in it.
fn pem_file(
    decoder: &mut Decoder<'_>,
    section: &Section<'_>,
    key: &str,
    folder: &Path,
    check: fn(&Path) -> Result<(), String>,
) -> Option<PathBuf> {
    decoder.value(section.get(key).as_ref(), |text| {
        let path = folder.join(values::path(text)?);
        check(&path).map_err(|problem| format!("cannot use {}: {problem}", read::quoted(&path)))?;
        Ok(path)
    })
}

fn has_certificate(path: &Path) -> Result<(), String> {
    let pem = read::pem(path).map_err(|error| format!("{error}; expected certificates in PEM format"))?;
    let mut certificates = CertificateDer::pem_slice_iter(&pem);
    match certificates.next() {
        Some(Ok(_)) if certificates.all(|certificate| certificate.is_ok()) => Ok(()),
        _ => Err("it holds no certificates, or broken ones; expected certificates in PEM format".to_owned()),
    }
}

fn has_key(path: &Path) -> Result<(), String> {
    let pem = read::pem(path).map_err(|error| format!("{error}; expected a private key in PEM format"))?;
    let key = PrivateKeyDer::from_pem_slice(&pem);
    key.map(|_| ()).map_err(|_| "it holds no private key; expected one in PEM format".to_owned())
}
