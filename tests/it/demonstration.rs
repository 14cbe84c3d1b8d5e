//! `captchaai-exporter demo`: the newcomer's first command.

use std::fs;
use std::process::Command;

use crate::harness::{Exporter, eventually, sample};

#[tokio::test]
async fn the_demonstration_shows_life_and_leaves_nothing_behind() {
    let temporary = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_captchaai-exporter"));
    command.args(["demo", "--web.listen-address", "127.0.0.1:0"]).env("TMPDIR", temporary.path());
    let exporter = Exporter::spawn(command);
    let sum = |metrics: &str, name: &str| -> f64 {
        metrics
            .lines()
            .filter(|line| line.starts_with(name))
            .filter_map(|line| sample(line, line.split(' ').next()?))
            .sum()
    };
    eventually("solved tasks and spent money", async || {
        let (_, metrics) = exporter.get("/metrics").await;
        let alive = sum(&metrics, "captchaai_tasks_finished_total{") > 3.0
            && sum(&metrics, "captchaai_account_spend_usd_total{") > 0.0
            && sum(&metrics, "captchaai_workers_active{") > 3.0
            && sum(&metrics, "captchaai_up{") > 1.0;
        alive.then_some(())
    })
    .await;
    assert!(exporter.get("/").await.1.contains("Account main"));
    assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 1);
    let (status, log) = exporter.terminate().await;
    assert_eq!(status.code(), Some(0), "{log}");
    assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 0, "the folder is removed");
}
