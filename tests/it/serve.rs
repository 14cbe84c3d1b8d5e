//! Flags, environment, start, shutdown, and what every endpoint has in common.

use std::process::{Command, Output};

use reqwest::Method;
use serde_json::json;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{Exporter, KEY, Setup};

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_captchaai-exporter"));
    command.env_clear();
    command
}

/// Runs to the end, which must come by itself.
fn output(command: &mut Command) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let [stdout, stderr] = [stdout, stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    (status.code(), stdout, stderr)
}

#[test]
fn the_version_names_revision_and_compiler() {
    let (code, stdout, _) = output(program().arg("--version"));
    assert_eq!(code, Some(0));
    for part in ["captchaai-exporter", env!("CARGO_PKG_VERSION"), "revision", "rustc"] {
        assert!(stdout.contains(part), "{stdout}");
    }
}

#[test]
fn the_configuration_is_checked_without_a_start() {
    let setup = Setup::new();
    let (code, stdout, stderr) = output(program().arg("--config.check").arg("--config.file").arg(setup.write()));
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{stdout}");
    assert!(!setup.folder.path().join("store.db").exists());

    let path = setup.folder.path().join("bad.yml");
    std::fs::write(
        &path,
        "accounts:\n- name: Main\n  api_key: hunter2\n  colour: red\npingback: { unknown: perhaps }\n",
    )
    .unwrap();
    let (code, stdout, stderr) = output(program().arg("--config.check").arg("--config.file").arg(&path));
    assert_eq!(code, Some(1), "{stdout}");
    let faults = format!("{stdout}{stderr}");
    for place in ["2:9", "4:3", "5:22"] {
        assert!(faults.contains(&format!("{}:{place}: ", path.display())), "{place} in {faults}");
    }
    assert!(!faults.contains("hunter2"), "{faults}");
}

#[test]
fn a_start_says_what_is_wrong_as_a_check_does() {
    let setup = Setup::new();
    let path = setup.folder.path().join("bad.yml");
    std::fs::write(&path, "accounts:\n- name: Main\n  api_key: hunter2\nextra: 1\n").unwrap();
    let (_, _, faults) = output(program().arg("--config.check").arg("--config.file").arg(&path));
    let (code, _, stderr) = output(program().arg("--config.file").arg(&path));
    assert_eq!(code, Some(1));
    assert_eq!(stderr, format!("captchaai-exporter: the configuration cannot be used:\n{faults}"));
    assert_eq!(faults.lines().count(), 2, "{faults}");
}

#[test]
fn without_a_token_only_this_machine_may_ask() {
    for (arguments, fault) in [
        (vec!["--web.listen-address", "0.0.0.0:0"], true),
        (vec!["--web.listen-address", ":0"], true),
        (vec!["--web.listen-address", "127.0.0.1:0", "--web.listen-address", "0.0.0.0:0"], true),
        (vec!["--web.listen-address", "0.0.0.0:0", "--web.allow-anonymous"], false),
        (vec!["--web.listen-address", "[::1]:0"], false),
    ] {
        let (code, stdout, stderr) = output(program().arg("--config.check").args(&arguments));
        assert_eq!(code, Some(i32::from(fault)), "{arguments:?} {stdout} {stderr}");
        assert_eq!(stderr.contains("--web.allow-anonymous"), fault, "{stderr}");
    }
    let (code, ..) = output(
        program().env("WEB_AUTH_TOKEN", "s3cret").arg("--config.check").args(["--web.listen-address", "0.0.0.0:0"]),
    );
    assert_eq!(code, Some(0));
}

#[tokio::test]
async fn the_environment_configures_one_account() {
    let setup = Setup::new();
    let mut command = program();
    command.current_dir(setup.folder.path());
    command.env("CAPTCHAAI_API_KEY", KEY).env("CAPTCHAAI_BASE_URL", "http://127.0.0.1:9").env("PINGBACK_TOKEN", "tok");
    command.args(["--web.listen-address", "127.0.0.1:0"]);
    let exporter = Exporter::spawn(command);
    assert_eq!(exporter.metric(r#"captchaai_up{account="main"}"#).await, Some(0.0));
    assert_eq!(exporter.get("/pingback/tok?id=1&code=x").await.0, 200);
    assert_eq!(exporter.get("/pingback?id=1&code=x").await.0, 404);
    assert!(setup.folder.path().join("data/captchaai-exporter.db").exists());
    assert!(setup.folder.path().join("data/spill").exists());
}

#[tokio::test]
async fn with_a_file_the_environment_is_ignored_and_that_is_said() {
    let setup = Setup::new();
    let mut command = program();
    command.env("PINGBACK_TOKEN", "tok").arg("--config.file").arg(setup.write());
    command.args(["--web.listen-address", "127.0.0.1:0"]);
    let exporter = Exporter::spawn(command);
    assert_eq!(exporter.get("/pingback?id=1&code=x").await.0, 200);
    assert!(exporter.log().contains("PINGBACK_TOKEN"), "{}", exporter.log());
}

#[tokio::test]
async fn faults_at_the_start_are_clear_and_end_it() {
    let setup = Setup::new();
    let exporter = setup.start();
    let config = setup.folder.path().join("config.yml");
    let second = |arguments: &[&str]| {
        let mut command = program();
        command.arg("--config.file").arg(&config).args(arguments);
        output(&mut command)
    };
    let (code, _, stderr) = second(&["--web.listen-address", "127.0.0.1:0"]);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("store.db is in use by another process"), "{stderr}");
    let (code, _, stderr) = second(&["--web.listen-address", &exporter.address.to_string()]);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("--web.listen-address") && stderr.contains(&exporter.address.to_string()), "{stderr}");
    let (code, _, stderr) = output(program().args(["--no-such-flag"]));
    assert_ne!(code, Some(0));
    assert!(stderr.contains("--no-such-flag"), "{stderr}");
}

#[tokio::test]
async fn a_signal_finishes_what_is_in_flight_and_ends_with_0() {
    for signal in ["TERM", "INT"] {
        let setup = Setup::new();
        let exporter = setup.start();
        exporter.register(json!({"id": "1"})).await;
        // Two requests in one packet: with the first answer it is certain that the second is there.
        let mut stream = TcpStream::connect(exporter.address).await.unwrap();
        let requests =
            "GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\nGET /api/v1/tasks/1?wait=60s HTTP/1.1\r\nHost: x\r\n\r\n";
        stream.write_all(requests.as_bytes()).await.unwrap();
        let mut answers = vec![0; 64];
        stream.read_exact(&mut answers).await.unwrap();
        let mut idle = TcpStream::connect(exporter.address).await.unwrap();
        let pingback = exporter.request(Method::GET, "/pingback?id=2&code=x");
        let (kept, ()) = tokio::join!(pingback.send(), async { exporter.signal(signal) });
        let (status, log) = exporter.terminate().await;
        assert_eq!(status.code(), Some(0), "{log}");
        stream.read_to_end(&mut answers).await.unwrap();
        let answers = String::from_utf8(answers).unwrap();
        assert_eq!(answers.matches("HTTP/1.1 200").count(), 2, "{answers}");
        assert!(answers.contains(r#""status":"pending""#), "{answers}");
        assert_eq!(idle.read(&mut [0]).await.unwrap_or(0), 0);
        let exporter = setup.start();
        if kept.is_ok_and(|kept| kept.status() == 200) {
            assert_eq!(exporter.task("2").await["code"], "x");
        }
        assert_eq!(exporter.task("1").await["status"], "pending");
    }
}

#[tokio::test]
async fn errors_are_json_and_tell_nothing_of_the_inside() {
    let exporter = Setup::new().start();
    for (method, path, status) in [
        (Method::GET, "/nothing/here", 404),
        (Method::GET, "/pingback", 400),
        (Method::DELETE, "/pingback", 405),
        (Method::POST, "/metrics", 405),
        (Method::GET, "/-/reload", 405),
        (Method::GET, "/api/v1/tasks/unknown", 404),
        (Method::POST, "/api/v1/tasks", 400),
        (Method::GET, "/../etc/passwd", 404),
    ] {
        let answer = exporter.request(method.clone(), path).send().await.unwrap();
        assert_eq!(answer.status(), status, "{method} {path}");
        assert_eq!(answer.headers()["content-type"], "application/json", "{method} {path}");
        if status == 405 {
            assert!(answer.headers().contains_key("allow"), "{method} {path}");
        }
        let body: serde_json::Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        assert!(body["error"].is_string() && body.as_object().unwrap().len() == 1, "{body}");
    }
    assert_eq!(exporter.get("/-/healthy").await.0, 200);
    assert_eq!(exporter.get("/-/ready").await.0, 200);
}

#[tokio::test]
async fn the_page_shows_what_a_person_looks_for() {
    let exporter = Setup::new().start();
    exporter.register(json!({"id": "1", "worker": "w1"})).await;
    exporter.register(json!({"id": "2", "worker": "w2"})).await;
    exporter.pingback("id=1&code=x").await;
    let answer = exporter.request(Method::GET, "/").send().await.unwrap();
    assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("text/html"));
    assert!(answer.headers().contains_key("content-security-policy"));
    let page = answer.text().await.unwrap();
    for part in [env!("CARGO_PKG_VERSION"), "main", "not read yet", "100", "/metrics", "/-/ready"] {
        assert!(page.contains(part), "{part} in {page}");
    }
    assert!(!page.contains(KEY));
}
