//! What Prometheus sees: the text format, its own linter, and a real server that scrapes.

use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use flate2::read::GzDecoder;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{PATIENCE, Setup, eventually, sample};

#[tokio::test]
async fn promtool_has_nothing_to_say() {
    let exporter = Setup::new().start();
    exporter.register(json!({"id": "1", "captcha": "turnstile"})).await;
    exporter.pingback("id=1&code=x").await;
    let (_, metrics) = exporter.get("/metrics").await;
    let mut promtool = Command::new("promtool");
    let promtool =
        promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut promtool = promtool.spawn().unwrap();
    promtool.stdin.take().unwrap().write_all(metrics.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let words = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success() && words.is_empty(), "{words}");
}

#[tokio::test]
async fn the_text_format_comes_plain_or_compressed() {
    let exporter = Setup::new().start();
    for (accept, encoding) in [(None, None), (Some("gzip"), Some("gzip")), (Some("gzip;q=0"), None), (Some("br"), None)]
    {
        let mut request = exporter.request(Method::GET, "/metrics");
        if let Some(accept) = accept {
            request = request.header("accept-encoding", accept);
        }
        let answer = request.send().await.unwrap();
        let headers = answer.headers().clone();
        assert_eq!(headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
        assert_eq!(headers.get("content-encoding").map(|value| value.to_str().unwrap()), encoding, "{accept:?}");
        let body = answer.bytes().await.unwrap();
        let text = match encoding {
            Some(_) => std::io::read_to_string(GzDecoder::new(&body[..])).unwrap(),
            None => String::from_utf8(body.to_vec()).unwrap(),
        };
        assert!(text.contains("# TYPE captchaai_up gauge"), "{accept:?}");
    }
}

/// The first failure must be an increase and not a new series.
#[tokio::test]
async fn closed_label_sets_are_there_from_the_start() {
    let mut setup = Setup::new();
    setup.config = "captchas: [mtcaptcha]".to_owned();
    let (_, metrics) = setup.start().get("/metrics").await;
    for series in [
        r#"captchaai_tasks_submitted_total{account="main",captcha="turnstile"}"#,
        r#"captchaai_tasks_finished_total{account="main",captcha="mtcaptcha"}"#,
        r#"captchaai_tasks_failed_total{account="main",captcha="other"}"#,
        r#"captchaai_task_errors_total{account="main",code="ERROR_CAPTCHA_UNSOLVABLE"}"#,
        r#"captchaai_task_errors_total{account="main",code="TIMEOUT"}"#,
        r#"captchaai_submit_errors_total{account="main",code="ERROR_ZERO_BALANCE"}"#,
        r#"captchaai_solve_duration_seconds_bucket{account="main",captcha="image",le="120"}"#,
        r#"captchaai_pingbacks_rejected_total{reason="forged"}"#,
        r#"captchaai_pingbacks_expected_total{account="main"}"#,
        r#"captchaai_pingbacks_missed_total{account="main"}"#,
        r#"captchaai_queue_tasks{account="main"}"#,
        r#"captchaai_queue_oldest_task_age_seconds{account="main"}"#,
        r#"captchaai_workers_active{account="main"}"#,
        r#"captchaai_http_requests_total{code="200",handler="/pingback"}"#,
        r#"captchaai_http_requests_total{code="404",handler="other"}"#,
        "captchaai_pingback_duplicates_total",
        "captchaai_pingback_conflicts_total",
        "captchaai_store_errors_total",
        "captchaai_store_commit_duration_seconds_count",
    ] {
        assert!(sample(&metrics, series).is_some(), "{series}");
    }
    assert!(sample(&metrics, "captchaai_store_size_bytes") > Some(0.0));
    assert!(sample(&metrics, "process_resident_memory_bytes") > Some(0.0));
    assert_eq!(sample(&metrics, "captchaai_config_last_reload_successful"), Some(1.0));
    assert!(!metrics.contains("captchaai_solve_ratio{"), "nothing has finished yet");
    assert!(!metrics.contains("captchaai_account_balance_usd{"), "no balance is known yet");
}

/// A real server, on a free port, with a folder of its own; killed when dropped.
pub(crate) struct Prometheus {
    child: Child,
    pub(crate) url: String,
}

impl Prometheus {
    pub(crate) fn start(program: &Path, folder: &Path, yaml: &str) -> Self {
        let config = folder.join("prometheus.yml");
        fs::write(&config, yaml).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new(program)
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("tsdb").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            // What fired before it found Alertmanager is sent again soon.
            .arg("--rules.alert.resend-delay=1s")
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, url: format!("http://127.0.0.1:{port}") }
    }

    /// What it answers to an instant query, an error included; `None` while it does not answer.
    pub(crate) async fn answer(&self, client: &reqwest::Client, query: &str) -> Option<Value> {
        let request = client.get(format!("{}/api/v1/query", self.url)).query(&[("query", query)]);
        let answer = request.timeout(PATIENCE).send().await.ok()?.text().await.ok()?;
        serde_json::from_str(&answer).ok()
    }

    /// The values of an instant query; `None` while there are none.
    pub(crate) async fn query(&self, client: &reqwest::Client, query: &str) -> Option<Vec<f64>> {
        let answer = self.answer(client, query).await?;
        let results = answer["data"]["result"].as_array()?;
        let values = results.iter().filter_map(|result| result["value"][1].as_str()?.parse().ok());
        Some(values.collect::<Vec<f64>>()).filter(|values| !values.is_empty())
    }
}

/// The configuration of one that scrapes this address every second.
pub(crate) fn scraping(address: SocketAddr) -> String {
    format!(
        "global: {{ scrape_interval: 1s }}\nscrape_configs:\n- job_name: captchaai\n  static_configs: [{{ targets: [\"{address}\"] }}]\n"
    )
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_prometheus_scrapes_and_answers() {
    let setup = Setup::new();
    let exporter = setup.start();
    let yaml = scraping(exporter.address);
    let prometheus = Prometheus::start(Path::new("prometheus"), setup.folder.path(), &yaml);
    let client =
        reqwest::Client::builder().tls_backend_preconfigured(crate::harness::tls()).no_proxy().build().unwrap();
    let expect = async |query: &str, expected: f64| {
        eventually(query, async || {
            let values = prometheus.query(&client, query).await?;
            (values.len() == 1 && (values[0] - expected).abs() < 1e-9).then_some(())
        })
        .await;
    };
    expect("up{job=\"captchaai\"}", 1.0).await;
    expect("sum(captchaai_tasks_finished_total)", 0.0).await;
    for number in 0..20 {
        exporter.register(json!({"id": format!("p{number}"), "captcha": "turnstile", "worker": "w1"})).await;
    }
    for number in 0..15 {
        let code = if number < 12 { "solution" } else { "ERROR_CAPTCHA_UNSOLVABLE" };
        exporter.pingback(&format!("id=p{number}&code={code}")).await;
    }
    expect("captchaai_queue_tasks", 5.0).await;
    expect("captchaai_workers_active", 1.0).await;
    expect("sum(captchaai_tasks_finished_total)", 15.0).await;
    expect("sum(captchaai_tasks_failed_total) / sum(captchaai_tasks_finished_total)", 0.2).await;
    expect("captchaai_solve_ratio{window=\"5m\"}", 0.8).await;
    expect("sum(captchaai_solve_duration_seconds_count)", 12.0).await;
    expect("captchaai_task_errors_total{code=\"ERROR_CAPTCHA_UNSOLVABLE\"}", 3.0).await;
    expect("captchaai_pingbacks_total", 15.0).await;
    expect("captchaai_pingback_ack_duration_seconds_count", 15.0).await;
    expect("captchaai_up", 0.0).await;
    expect("count(captchaai_exporter_build_info)", 1.0).await;
    // The series existed before the first task, so the increase is seen.
    eventually("an increase", async || {
        let values = prometheus.query(&client, "sum(increase(captchaai_tasks_finished_total[5m]))").await?;
        (values[0] > 0.0).then_some(())
    })
    .await;
}
