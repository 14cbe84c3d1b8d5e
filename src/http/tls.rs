//! TLS of the listener.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::version::{TLS12, TLS13};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::config::{self, ClientAuth, Config};

/// Why TLS cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file of the web configuration.
    #[error("{path}: {error}")]
    File {
        /// Which one.
        path: PathBuf,
        /// What is wrong with it.
        error: pem::Error,
    },
    /// There is no certificate in it.
    #[error("{0}: no certificate in it")]
    Empty(PathBuf),
    /// The certificates and the key do not make a working configuration.
    #[error("{cert_file} with {key_file}: {error}")]
    Unusable {
        /// The chain.
        cert_file: PathBuf,
        /// The key.
        key_file: PathBuf,
        /// What the TLS library says.
        error: String,
    },
}

/// The TLS settings in force; their files are read again when they change.
#[derive(Debug)]
pub(super) struct Tls {
    settings: config::Tls,
    server: RwLock<Arc<ServerConfig>>,
    read: Mutex<Modified>,
}

/// When each of the files was last changed.
type Modified = [Option<SystemTime>; 3];

impl Tls {
    /// Reads the certificates.
    pub(super) fn new(settings: config::Tls) -> Result<Self, TlsError> {
        let read = Mutex::new(modified(&settings));
        let server = RwLock::new(Arc::new(load(&settings)?));
        Ok(Self { settings, server, read })
    }

    /// What accepts the next connection.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.server.read().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Reads the certificates again whenever the configuration was, and when their files changed. Does
    /// not end by itself.
    pub(super) async fn keep_fresh(self: Arc<Self>, mut reloads: watch::Receiver<Arc<Config>>) {
        const CHECK: Duration = Duration::from_mins(1);
        loop {
            let reloaded = match timeout(CHECK, reloads.changed()).await {
                Ok(Ok(())) => true,
                // Nobody reads the configuration any more: the program is stopping.
                Ok(Err(_)) => std::future::pending().await,
                Err(_) => false,
            };
            let tls = Arc::clone(&self);
            // A panic in there has been reported, and the next change may go better.
            let _ = tokio::task::spawn_blocking(move || tls.refresh(reloaded)).await;
        }
    }

    /// What cannot be used is logged, and the old certificates stay.
    fn refresh(&self, forced: bool) {
        let modified = modified(&self.settings);
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if !forced && *read == modified {
            return;
        }
        *read = modified;
        match load(&self.settings) {
            Ok(server) => *self.server.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(server),
            Err(error) => tracing::error!(%error, "cannot use the new TLS files; the old ones stay in force"),
        }
    }
}

fn modified(settings: &config::Tls) -> Modified {
    let time = |path: &Path| std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    let client_ca = match &settings.client_auth {
        ClientAuth::None => None,
        ClientAuth::VerifyIfGiven(path) | ClientAuth::Require(path) => time(path),
    };
    [time(&settings.cert_file), time(&settings.key_file), client_ca]
}

fn load(settings: &config::Tls) -> Result<ServerConfig, TlsError> {
    let config::Tls { cert_file, key_file, client_auth, min_version_13 } = settings;
    let unusable =
        |error: String| TlsError::Unusable { cert_file: cert_file.clone(), key_file: key_file.clone(), error };
    let in_key_file = |error| TlsError::File { path: key_file.clone(), error };

    let chain = certificates(cert_file)?;
    let key = PrivateKeyDer::from_pem_file(key_file).map_err(in_key_file)?;
    let provider = Arc::new(ring::default_provider());
    let versions: &[_] = if *min_version_13 { &[&TLS13] } else { &[&TLS13, &TLS12] };
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .map_err(|error| unusable(error.to_string()))?;
    let builder = match client_auth {
        ClientAuth::None => builder.with_no_client_auth(),
        ClientAuth::VerifyIfGiven(path) | ClientAuth::Require(path) => {
            let roots = Arc::new(authorities(path)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
            let optional = matches!(client_auth, ClientAuth::VerifyIfGiven(_));
            let verifier = if optional { verifier.allow_unauthenticated() } else { verifier };
            builder.with_client_cert_verifier(verifier.build().map_err(|error| unusable(error.to_string()))?)
        }
    };
    let mut server = builder.with_single_cert(chain, key).map_err(|error| unusable(error.to_string()))?;
    server.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(server)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let in_file = |error| TlsError::File { path: path.to_owned(), error };
    let chain =
        CertificateDer::pem_file_iter(path).map_err(in_file)?.collect::<Result<Vec<_>, _>>().map_err(in_file)?;
    if chain.is_empty() { Err(TlsError::Empty(path.to_owned())) } else { Ok(chain) }
}

fn authorities(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(certificates(path)?);
    if added == 0 { Err(TlsError::Empty(path.to_owned())) } else { Ok(roots) }
}

#[cfg(test)]
mod tests;
