//! What the tests of the endpoints share: a whole state over a store in a folder of its own.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use jiff::Timestamp;
use secrecy::SecretString;
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::client::Peer;
use super::limits::Limits;
use super::state::{AppState, BuildInfo, ReloadRequest, Shared};
use crate::config::{Account, Config, Listen, Pingback, Receiver, Storage, UnknownPingback, Web};
use crate::domain::alert::Rank;
use crate::domain::captcha::CaptchaKinds;
use crate::domain::clock::ManualClock;
use crate::domain::error_code::CODES;
use crate::metrics::{LabelSets, Metrics};
use crate::notify::words::Language;
use crate::notify::{self, discord};
use crate::store::{Options, Rules, Store};

/// When the tests take place.
pub(super) fn now() -> Timestamp {
    Timestamp::from_second(1_769_848_200).unwrap()
}

pub(super) fn account(name: &str) -> Account {
    Account {
        name: name.into(),
        api_key: SecretString::from("0123456789abcdef0123456789abcdef"),
        base_url: "http://127.0.0.1:9".to_owned(),
        balance_interval: Duration::from_mins(1),
    }
}

/// One account, `main`, and everything else as it is without a word about it.
pub(super) fn config() -> Config {
    Config {
        web: Web::default(),
        accounts: vec![account("main")],
        captchas: CaptchaKinds::new(&[]),
        // What nobody registered counts at once: nobody can be asked here.
        pingback: Pingback { unknown: UnknownPingback::Accept, ..Pingback::default() },
        fallback: crate::domain::fallback::Fallback::default(),
        subscribers: Vec::new(),
        receivers: Vec::new(),
        watchdog: None,
        marzban: None,
        storage: Storage { path: "unused".into(), retention: Duration::from_hours(24), spill_dir: "unused".into() },
    }
}

/// A receiver with one Discord webhook of the same name.
pub(super) fn receiver(name: &str) -> Receiver {
    let settings = discord::Settings {
        name: name.to_owned(),
        webhook_url: SecretString::from("http://127.0.0.1:9/api/webhooks/1/token"),
        min_severity: Rank::Info,
        resolved: discord::Resolved::default(),
        mentions: BTreeMap::new(),
        words: discord::words(Language::English),
        max_age: Duration::from_hours(24),
        external_url: None,
    };
    Receiver { name: name.to_owned(), destinations: vec![notify::Settings::Discord(settings)] }
}

/// A program that gets results, and that nobody reaches.
pub(super) fn subscriber(name: &str) -> notify::Settings {
    notify::Settings::Subscriber(notify::subscriber::Settings {
        name: name.to_owned(),
        url: SecretString::from("http://127.0.0.1:9/results"),
        secret: None,
        max_age: Duration::from_mins(2),
    })
}

/// Bounds that no test reaches by accident.
pub(super) fn limits() -> Limits {
    Limits { connections: 64, ..Limits::default() }
}

pub(super) struct Fixture {
    pub(super) config: watch::Sender<Arc<Config>>,
    pub(super) clock: Arc<ManualClock>,
    pub(super) metrics: Metrics,
    pub(super) store: Store,
    pub(super) stop: CancellationToken,
    pub(super) reloads: mpsc::Receiver<ReloadRequest>,
    pub(super) listen: Listen,
    pub(super) limits: Limits,
    pub(super) folder: TempDir,
    reload: mpsc::Sender<ReloadRequest>,
}

impl Fixture {
    pub(super) fn new(config: Config) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let metrics = Metrics::new(&LabelSets {
            accounts: config.accounts.iter().map(|account| account.name.to_string()).collect(),
            captchas: config.captchas.names().to_vec(),
            codes: CODES.iter().map(|&(code, _)| code).collect(),
            api_failure_reasons: vec!["auth", "timeout"],
            ..LabelSets::default()
        })
        .unwrap();
        let clock = Arc::new(ManualClock::new(now()));
        let options = Options {
            path: folder.path().join("store.db"),
            spill_dir: folder.path().join("spill"),
            rules: Rules::new(Duration::from_mins(2)),
        };
        let store = Store::open(&options, metrics.clone(), clock.clone()).unwrap();
        let (reload, reloads) = mpsc::channel(1);
        Self {
            config: watch::channel(Arc::new(config)).0,
            clock,
            metrics,
            store,
            stop: CancellationToken::new(),
            reloads,
            listen: Listen { addresses: Vec::new(), external_url: None, web_config: None },
            limits: limits(),
            folder,
            reload,
        }
    }

    pub(super) fn state(&self) -> AppState {
        AppState {
            config: self.config.subscribe(),
            store: self.store.clone(),
            metrics: self.metrics.clone(),
            clock: self.clock.clone(),
            listen: Arc::new(self.listen.clone()),
            stop: self.stop.clone(),
            reload: self.reload.clone(),
            build: BuildInfo { version: "1.2.3", revision: "abcdef", rustc: "1.95.0" },
        }
    }

    pub(super) fn shared(&self) -> Shared {
        Shared::new(self.state(), self.limits)
    }

    pub(super) fn router(&self) -> Router {
        super::router(&self.shared())
    }

    pub(super) async fn send(&self, request: Request<Body>) -> Answer {
        send(self.router(), request).await
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.send(request(Method::GET, path, "")).await
    }

    pub(super) async fn post(&self, path: &str, body: impl Into<Body>) -> Answer {
        self.send(request(Method::POST, path, body)).await
    }

    /// The value of a counter or gauge, by its name and labels as they stand in the text format.
    pub(super) async fn sample(&self, series: &str) -> Option<f64> {
        let text = self.get("/metrics").await.text();
        let line = text.lines().find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')))?;
        line.rsplit(' ').next()?.parse().ok()
    }
}

pub(super) fn request(method: Method, path: &str, body: impl Into<Body>) -> Request<Body> {
    let peer: SocketAddr = "192.0.2.1:4711".parse().unwrap();
    Request::builder().method(method).uri(path).extension(Peer(peer)).body(body.into()).unwrap()
}

pub(super) async fn send(router: Router, request: Request<Body>) -> Answer {
    let (parts, body) = router.oneshot(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes().to_vec();
    Answer { status: parts.status, headers: parts.headers, body }
}

#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Expects an error in the form that all errors have, and returns its words.
    pub(super) fn error(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.header("content-type"), Some("application/json"));
        let json = self.json();
        let error = json.as_object().filter(|object| object.len() == 1).and_then(|object| object["error"].as_str());
        error.unwrap_or_else(|| panic!("{json}")).to_owned()
    }

    pub(super) fn expect_ok(&self) {
        assert_eq!((self.status.as_u16(), self.text().as_str()), (200, "OK"));
    }
}
