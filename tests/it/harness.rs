//! Starts the program on a free port and a folder of its own, and asks it things.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use reqwest::{Method, Response, StatusCode};
use serde_json::Value;
use tempfile::TempDir;

/// Long enough for a busy machine; nothing waits for it in vain but a test that fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// An API key in the right form.
pub(crate) const KEY: &str = "0123456789abcdef0123456789abcdef";

/// A folder, and how to start the program in it.
pub(crate) struct Setup {
    pub(crate) folder: TempDir,
    /// The configuration without `accounts` and `storage`.
    pub(crate) config: String,
    pub(crate) accounts: String,
    pub(crate) storage: String,
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: Vec<(&'static str, PathBuf)>,
}

impl Setup {
    /// One account whose API nobody answers.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let storage = format!("{{ url: \"sqlite:{0}/store.db\", spill_dir: \"{0}/spill\" }}", folder.path().display());
        let (arguments, environment) = (Vec::new(), Vec::new());
        let mut setup =
            Self { folder, config: String::new(), accounts: String::new(), storage, arguments, environment };
        setup.account("main", "http://127.0.0.1:9");
        setup
    }

    /// Adds an account.
    pub(crate) fn account(&mut self, name: &str, base_url: &str) {
        let account = format!("{{ name: {name}, api_key: {KEY}, base_url: \"{base_url}\", balance_interval: 1s }}");
        self.accounts = format!("{}- {account}\n", self.accounts);
    }

    /// Writes the configuration file and returns its path.
    pub(crate) fn write(&self) -> PathBuf {
        let path = self.folder.path().join("config.yml");
        // Nobody answers for most accounts of the tests, so that a result that nobody registered counts at once.
        let accept = if self.config.contains("pingback:") { "" } else { "pingback: { unknown: accept }\n" };
        let text = format!("{}\n{accept}accounts:\n{}storage: {}\n", self.config, self.accounts, self.storage);
        fs::write(&path, text).unwrap();
        path
    }

    pub(crate) fn start(&self) -> Exporter {
        let mut command = Command::new(env!("CARGO_BIN_EXE_captchaai-exporter"));
        command.arg("--config.file").arg(self.write());
        command.args(["--web.listen-address", "127.0.0.1:0"]).args(&self.arguments);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        Exporter::spawn(command)
    }
}

/// The running program; killed when dropped.
pub(crate) struct Exporter {
    child: Child,
    pub(crate) address: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
    client: reqwest::Client,
}

impl Exporter {
    /// Starts a command that is the program, and waits until it listens.
    pub(crate) fn spawn(mut command: Command) -> Self {
        command.args(["--log.format", "json"]).stderr(Stdio::piped());
        command.env_remove("RUST_BACKTRACE");
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let log = Arc::new(Mutex::new(Vec::new()));
        let address = loop {
            let Some(Ok(line)) = lines.next() else {
                panic!("ended with {:?}: {:#?}", child.wait(), log.lock().unwrap());
            };
            let parsed: Value = serde_json::from_str(&line).unwrap_or_default();
            log.lock().unwrap().push(line);
            if parsed["fields"]["message"] == "listening" {
                break parsed["fields"]["address"].as_str().unwrap().parse().unwrap();
            }
        };
        let rest = Arc::clone(&log);
        std::thread::spawn(move || lines.for_each(|line| rest.lock().unwrap().extend(line)));
        let client = reqwest::Client::builder().tls_backend_preconfigured(tls()).no_proxy().build().unwrap();
        Self { child, address, log, client }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, self.url(path)).timeout(PATIENCE)
    }

    pub(crate) async fn get(&self, path: &str) -> (StatusCode, String) {
        text(self.request(Method::GET, path).send().await.unwrap()).await
    }

    pub(crate) async fn post(&self, path: &str, body: impl ToString) -> (StatusCode, String) {
        text(self.request(Method::POST, path).body(body.to_string()).send().await.unwrap()).await
    }

    /// Registers a task and expects that it is accepted.
    pub(crate) async fn register(&self, task: Value) {
        let (status, body) = self.post("/api/v1/tasks", task).await;
        assert_eq!((status.as_u16(), body.as_str()), (200, r#"{"accepted":1}"#));
    }

    /// Sends a pingback and expects that it is kept.
    pub(crate) async fn pingback(&self, query: &str) {
        assert_eq!(self.get(&format!("/pingback?{query}")).await, (StatusCode::OK, "OK".to_owned()));
    }

    /// The task as the API tells it.
    pub(crate) async fn task(&self, id: &str) -> Value {
        let (status, body) = self.get(&format!("/api/v1/tasks/{id}")).await;
        assert_eq!(status, 200, "{id}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    /// A sample of `/metrics` by its name and labels as they are written there.
    pub(crate) async fn metric(&self, series: &str) -> Option<f64> {
        sample(&self.get("/metrics").await.1, series)
    }

    /// Asks again until the sample has this value.
    pub(crate) async fn await_metric(&self, series: &str, expected: f64) {
        eventually(series, async || (self.metric(series).await == Some(expected)).then_some(())).await;
    }

    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Resident memory in bytes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }

    /// SIGKILL: nothing is flushed, nothing is said.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.pid().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// SIGTERM, and how it ended, within ten seconds.
    pub(crate) async fn terminate(mut self) -> (ExitStatus, String) {
        // It may have got another signal before; one more changes nothing.
        self.signal("TERM");
        let asked = Instant::now();
        let status = eventually("the end", async || self.child.try_wait().unwrap()).await;
        assert!(asked.elapsed() < Duration::from_secs(10), "took {:?}", asked.elapsed());
        (status, self.log())
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) async fn text(response: Response) -> (StatusCode, String) {
    (response.status(), response.text().await.unwrap())
}

/// A client configuration with the provider that the program uses.
pub(crate) fn tls() -> rustls::ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth()
}

/// The value of one series in the text format.
pub(crate) fn sample(metrics: &str, series: &str) -> Option<f64> {
    let line = metrics.lines().find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')))?;
    line.rsplit(' ').next()?.parse().ok()
}

/// Looks again every few milliseconds until there is an answer; fails loudly when there is none.
pub(crate) async fn eventually<T>(what: &str, look: impl AsyncFnMut() -> Option<T>) -> T {
    eventually_within(PATIENCE, what, look).await
}

/// The same with more patience, for what waits on purpose.
pub(crate) async fn eventually_within<T>(
    patience: Duration,
    what: &str,
    mut look: impl AsyncFnMut() -> Option<T>,
) -> T {
    let until = Instant::now() + patience;
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    while Instant::now() < until {
        if let Some(found) = look().await {
            return found;
        }
        ticks.tick().await;
    }
    panic!("waited in vain for {what}");
}

/// Debian's version of a program of Prometheus' and, where the environment names a folder with newer ones, that too.
#[expect(clippy::disallowed_methods, reason = "which versions to test with is for whoever runs the tests to say")]
pub(crate) fn versions(program: &str) -> Vec<PathBuf> {
    let newest = std::env::var_os("NEWEST_PROMETHEUS").map(|folder| Path::new(&folder).join(program));
    std::iter::once(PathBuf::from(program)).chain(newest).collect()
}

/// Runs a program to its end.
pub(crate) fn run(program: &str, arguments: &[&str]) -> (bool, String) {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    (output.status.success(), text)
}

/// A file of the repository.
pub(crate) fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
