use std::fs;
use std::io;
use std::net::SocketAddr;

use rcgen::{CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, SupportedProtocolVersion};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use super::*;
use crate::config::WebConfig;
use crate::http::limits::Limits;
use crate::http::server::{ServeError, serve_within};
use crate::http::testing::{Fixture, config};
use crate::http::{bind, testing};

/// Nothing waits that long but a test that fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// An authority, and a folder for what it signs.
struct Authority {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
    ca_file: PathBuf,
}

impl Authority {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let ca_file = folder.path().join("ca.pem");
        fs::write(&ca_file, params.self_signed(&key).unwrap().pem()).unwrap();
        Self { folder, issuer: Issuer::new(params, key), ca_file }
    }

    /// Writes a new certificate and its key.
    fn issue(&self, name: &str) -> config::Tls {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = certificate.signed_by(&key, &self.issuer).unwrap();
        let [cert_file, key_file] = ["pem", "key"].map(|kind| self.folder.path().join(format!("{name}.{kind}")));
        fs::write(&cert_file, certificate.pem()).unwrap();
        fs::write(&key_file, key.serialize_pem()).unwrap();
        config::Tls { cert_file, key_file, client_auth: ClientAuth::None, min_version_13: false }
    }

    /// A client that trusts this authority, with a certificate of another one or without any.
    fn client(&self, versions: &[&'static SupportedProtocolVersion], identity: Option<&config::Tls>) -> ClientConfig {
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(authorities(&self.ca_file).unwrap());
        match identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let key = PrivateKeyDer::from_pem_file(&identity.key_file).unwrap();
                builder.with_client_auth_cert(certificates(&identity.cert_file).unwrap(), key).unwrap()
            }
        }
    }
}

struct Running {
    address: SocketAddr,
    fixture: Fixture,
    server: JoinSet<Result<(), ServeError>>,
}

async fn start(tls: config::Tls, limits: Limits) -> Running {
    let mut fixture = Fixture::new(config());
    fixture.listen.web_config = Some(WebConfig { tls: Some(tls), basic_auth_users: Vec::new() });
    let listeners = bind(&["127.0.0.1:0".parse().unwrap()]).await.unwrap();
    let address = listeners[0].1;
    let mut server = JoinSet::new();
    server.spawn(serve_within(listeners, fixture.state(), fixture.stop.clone(), limits));
    Running { address, fixture, server }
}

/// What `/-/healthy` answers, and the certificate that the server showed.
async fn ask(address: SocketAddr, client: ClientConfig) -> io::Result<(String, Vec<u8>)> {
    let talk = async {
        let stream = TcpStream::connect(address).await?;
        let name = ServerName::try_from("localhost").unwrap();
        let mut stream = TlsConnector::from(Arc::new(client)).connect(name, stream).await?;
        stream.write_all(b"GET /-/healthy HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let shown = stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
        Ok((answer, shown))
    };
    timeout(PATIENCE, talk).await.expect("waited in vain")
}

#[tokio::test]
async fn clients_are_let_in_by_version_and_certificate() {
    let authority = Authority::new();
    let ours = authority.issue("client");
    let foreign = Authority::new();
    let others = foreign.issue("client");
    let ca = &authority.ca_file;
    let verify = || ClientAuth::VerifyIfGiven(ca.clone());
    let require = || ClientAuth::Require(ca.clone());
    for (client_auth, min_version_13, version, identity, expected) in [
        (ClientAuth::None, false, &TLS12, None, true),
        (ClientAuth::None, false, &TLS13, None, true),
        (ClientAuth::None, true, &TLS12, None, false),
        (ClientAuth::None, true, &TLS13, None, true),
        (ClientAuth::None, false, &TLS13, Some(&others), true),
        (verify(), false, &TLS13, None, true),
        (verify(), false, &TLS13, Some(&ours), true),
        (verify(), false, &TLS13, Some(&others), false),
        (require(), false, &TLS13, None, false),
        (require(), false, &TLS12, None, false),
        (require(), false, &TLS13, Some(&ours), true),
        (require(), false, &TLS12, Some(&ours), true),
        (require(), false, &TLS13, Some(&others), false),
    ] {
        let case = format!("{client_auth:?} {min_version_13} {version:?} {}", identity.is_some());
        let tls = config::Tls { client_auth, min_version_13, ..authority.issue("server") };
        let running = start(tls, testing::limits()).await;
        let answer = ask(running.address, authority.client(&[version], identity)).await;
        assert_eq!(answer.is_ok_and(|(answer, _)| answer.ends_with("\r\n\r\nOK")), expected, "{case}");
    }
}

#[tokio::test]
async fn who_does_not_speak_tls_is_not_served() {
    let limits = Limits { handshake: Duration::from_millis(50), ..testing::limits() };
    let authority = Authority::new();
    let running = start(authority.issue("server"), limits).await;
    for bytes in [&b""[..], b"\x16", b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n"] {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("waited in vain");
        assert!(!answer.starts_with(b"HTTP"), "{bytes:?}");
    }
}

#[tokio::test]
async fn a_stop_does_not_wait_for_handshakes() {
    let authority = Authority::new();
    let mut running = start(authority.issue("server"), testing::limits()).await;
    let mut silent = TcpStream::connect(running.address).await.unwrap();
    running.fixture.stop.cancel();
    timeout(Duration::from_secs(5), running.server.join_next()).await.unwrap().unwrap().unwrap().unwrap();
    let _ = timeout(PATIENCE, silent.read_u8()).await.expect("waited in vain");
}

#[tokio::test]
async fn a_reload_shows_the_new_certificate() {
    let authority = Authority::new();
    let running = start(authority.issue("server"), testing::limits()).await;
    let shown = async || ask(running.address, authority.client(&[&TLS13], None)).await.unwrap().1;
    let before = shown().await;
    assert_eq!(shown().await, before);
    authority.issue("server");
    running.fixture.config.send_modify(|_| {});
    let changed = async { while shown().await == before {} };
    timeout(PATIENCE, changed).await.expect("still the old certificate");
}

#[test]
fn files_are_read_again_when_they_change() {
    let authority = Authority::new();
    let settings = authority.issue("server");
    let cert_file = settings.cert_file.clone();
    let tls = Tls::new(settings).unwrap();
    let current = || Arc::as_ptr(&tls.server.read().unwrap());
    let touch = |seconds| {
        let file = fs::File::options().append(true).open(&cert_file).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
    };
    let first = current();
    tls.refresh(false);
    assert_eq!(current(), first, "nothing changed");
    touch(1);
    tls.refresh(false);
    let second = current();
    assert_ne!(second, first, "the file changed");
    fs::write(&cert_file, "rubbish").unwrap();
    touch(2);
    tls.refresh(false);
    assert_eq!(current(), second, "rubbish is not taken");
}

#[test]
fn errors_name_the_file() {
    let authority = Authority::new();
    let good = authority.issue("server");
    let other = authority.issue("other");
    let missing = authority.folder.path().join("missing.pem");
    let (cert, key) = (good.cert_file.display(), good.key_file.display());
    let auth = |path: &PathBuf| ClientAuth::Require(path.clone());
    for (tls, expected) in [
        (config::Tls { cert_file: missing.clone(), ..good.clone() }, format!("{}: ", missing.display())),
        (config::Tls { key_file: missing.clone(), ..good.clone() }, format!("{}: ", missing.display())),
        (config::Tls { cert_file: good.key_file.clone(), ..good.clone() }, format!("{key}: no certificate in it")),
        (config::Tls { key_file: good.cert_file.clone(), ..good.clone() }, format!("{cert}: ")),
        (
            config::Tls { key_file: other.key_file.clone(), ..good.clone() },
            format!("{cert} with {}: ", other.key_file.display()),
        ),
        (config::Tls { client_auth: auth(&missing), ..good.clone() }, format!("{}: ", missing.display())),
        (config::Tls { client_auth: auth(&good.key_file), ..good.clone() }, format!("{key}: no certificate in it")),
    ] {
        let error = Tls::new(tls).unwrap_err().to_string();
        assert!(error.starts_with(&expected), "{error}");
    }
}
