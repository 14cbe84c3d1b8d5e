//! Balances, from a simulated CaptchaAI.

use crate::harness::{KEY, Setup};
use captchaai_exporter::demo::captchaai::{Action, Fault, Odds, Options, SimulatedCaptchaAi};

async fn simulated(balance_usd: f64) -> SimulatedCaptchaAi {
    let options = Options { key: KEY.to_owned(), balance_usd, odds: Odds::NONE, ..Options::default() };
    SimulatedCaptchaAi::start(options).await.unwrap()
}

fn watching(captchaai: &SimulatedCaptchaAi) -> Setup {
    let mut setup = Setup::new();
    setup.accounts.clear();
    setup.account("main", &captchaai.base_url());
    setup
}

const BALANCE: &str = r#"captchaai_account_balance_usd{account="main"}"#;
const SPEND: &str = r#"captchaai_account_spend_usd_total{account="main"}"#;
const TOPUPS: &str = r#"captchaai_account_topups_usd_total{account="main"}"#;
const UP: &str = r#"captchaai_up{account="main"}"#;

fn failures(reason: &str) -> String {
    format!("captchaai_api_request_failures_total{{account=\"main\",action=\"getbalance\",reason=\"{reason}\"}}")
}

#[tokio::test]
async fn balance_spend_and_topups_survive_a_restart() {
    let captchaai = simulated(10.0).await;
    let setup = watching(&captchaai);
    let exporter = setup.start();
    exporter.await_metric(BALANCE, 10.0).await;
    assert_eq!(exporter.metric(UP).await, Some(1.0));
    captchaai.set_balance(7.5);
    exporter.await_metric(BALANCE, 7.5).await;
    exporter.kill();

    // While nobody looks, money is spent; the restarted program sees that, and a top-up.
    captchaai.set_balance(7.0);
    let exporter = setup.start();
    exporter.await_metric(BALANCE, 7.0).await;
    assert_eq!(exporter.metric(SPEND).await, Some(3.0));
    captchaai.set_balance(27.0);
    exporter.await_metric(TOPUPS, 20.0).await;
    captchaai.stop().await;
    exporter.await_metric(UP, 0.0).await;
    exporter.kill();

    // Without an answer since the start, the last good values are there.
    let exporter = setup.start();
    assert_eq!(exporter.metric(BALANCE).await, Some(27.0));
    assert_eq!(exporter.metric(SPEND).await, Some(3.0));
    assert_eq!(exporter.metric(TOPUPS).await, Some(20.0));
    assert!(exporter.metric(r#"captchaai_balance_last_success_timestamp_seconds{account="main"}"#).await > Some(1e9));
}

#[tokio::test]
async fn every_form_of_answer_is_understood() {
    let captchaai = simulated(1.0).await;
    let exporter = watching(&captchaai).start();
    for (answer, balance) in [
        (r#"{"status":1,"request":"142.30"}"#, 142.3),
        (r#"{"status":1,"request":141.25}"#, 141.25),
        ("140.5", 140.5),
        ("OK|139.75", 139.75),
    ] {
        captchaai.script(Action::GetBalance, &Fault::Answer(answer.to_owned()), 1);
        exporter.await_metric(BALANCE, balance).await;
    }
    assert_eq!(exporter.metric(&failures("malformed")).await, Some(0.0));
}

#[tokio::test]
async fn a_failed_poll_keeps_the_last_balance_and_backs_off() {
    for (fault, reason) in [
        (Fault::Status(502), "http"),
        (Fault::Answer("<html>hello</html>".to_owned()), "malformed"),
        (Fault::Answer(r#"{"status":0,"request":"ERROR_TOO_MUCH_REQUESTS"}"#.to_owned()), "capacity"),
        (Fault::Answer("ERROR_INTERNAL_SERVER_ERROR".to_owned()), "upstream"),
    ] {
        let captchaai = simulated(5.0).await;
        let exporter = watching(&captchaai).start();
        exporter.await_metric(BALANCE, 5.0).await;
        captchaai.script(Action::GetBalance, &fault, 1000);
        exporter.await_metric(&failures(reason), 1.0).await;
        assert_eq!(exporter.metric(UP).await, Some(0.0), "{reason}");
        assert_eq!(exporter.metric(BALANCE).await, Some(5.0), "{reason}");
    }
}

#[tokio::test]
async fn a_refused_key_is_not_asked_with_again_until_the_configuration_changes() {
    const RIGHT_KEY: &str = "another-key-another-key-another!";
    let captchaai = simulated(5.0).await;
    captchaai.set_key(RIGHT_KEY);
    let other = simulated(1.0).await;
    let mut setup = watching(&captchaai);
    setup.account("other", &other.base_url());
    let exporter = setup.start();
    exporter.await_metric(&failures("auth"), 1.0).await;
    // Meanwhile the other account is asked every second; a reload that changes nothing for this one
    // does not make it ask either.
    other.wait_for_requests(Action::GetBalance, 3).await.unwrap();
    assert_eq!(exporter.post("/-/reload", "").await.0, 200);
    let so_far = other.counts().requests(Action::GetBalance);
    other.wait_for_requests(Action::GetBalance, so_far + 3).await.unwrap();
    assert_eq!(captchaai.counts().requests(Action::GetBalance), 1);
    assert_eq!(exporter.metric(UP).await, Some(0.0));

    setup.accounts = setup.accounts.replacen(KEY, RIGHT_KEY, 1);
    setup.write();
    assert_eq!(exporter.post("/-/reload", "").await.0, 200);
    exporter.await_metric(BALANCE, 5.0).await;
    assert!(!exporter.log().contains(RIGHT_KEY), "the key stands in the log");
    assert!(!exporter.log().contains(KEY), "the key stands in the log");
}

#[tokio::test]
async fn a_reload_takes_new_accounts_and_forgets_old_ones() {
    let captchaai = simulated(5.0).await;
    let mut setup = watching(&captchaai);
    let exporter = setup.start();
    exporter.await_metric(BALANCE, 5.0).await;
    captchaai.set_balance(4.0);
    exporter.await_metric(SPEND, 1.0).await;
    setup.accounts.clear();
    setup.account("second", &captchaai.base_url());
    setup.write();
    exporter.signal("HUP");
    exporter.await_metric(r#"captchaai_account_balance_usd{account="second"}"#, 4.0).await;
    assert_eq!(exporter.metric(BALANCE).await, None);
    assert_eq!(exporter.metric(r#"captchaai_queue_tasks{account="second"}"#).await, Some(0.0));

    std::fs::write(setup.folder.path().join("config.yml"), "nonsense: true\n").unwrap();
    let (status, reasons) = exporter.post("/-/reload", "").await;
    assert_eq!(status, 400);
    assert!(reasons.contains("config.yml:1:1: "), "{reasons}");
    assert_eq!(exporter.metric("captchaai_config_last_reload_successful").await, Some(0.0));
    captchaai.set_balance(3.0);
    exporter.await_metric(r#"captchaai_account_balance_usd{account="second"}"#, 3.0).await;
}
