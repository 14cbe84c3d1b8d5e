//! SIGKILL in the middle of a load: what was acknowledged is there afterwards.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;

use crate::harness::{Exporter, PATIENCE, Setup};

const KILLS: usize = 12;
const CLIENTS: usize = 16;

/// What one client was told is kept.
#[derive(Default)]
struct Acknowledged {
    tasks: Vec<String>,
    results: Vec<(String, String)>,
}

/// Registers a task, sends its pingback, and one for a task that nobody registered, until the server
/// is gone.
async fn load(client: reqwest::Client, base: String, prefix: String, total: Arc<AtomicUsize>) -> Acknowledged {
    let mut kept = Acknowledged::default();
    for number in 0..100_000 {
        let id = format!("{prefix}-{number}");
        let task = json!({"id": id, "captcha": "turnstile", "worker": prefix}).to_string();
        match client.post(format!("{base}/api/v1/tasks")).body(task).send().await {
            Ok(answer) if answer.status() == 200 => kept.tasks.push(id.clone()),
            _ => return kept,
        }
        for (id, code) in [(id.clone(), format!("code-{id}")), (format!("{id}-early"), "ERROR_X".to_owned())] {
            match client.get(format!("{base}/pingback?id={id}&code={code}")).send().await {
                Ok(answer) if answer.status() == 200 => kept.results.push((id, code)),
                _ => return kept,
            }
            total.fetch_add(1, Ordering::Relaxed);
        }
    }
    kept
}

async fn verify(exporter: &Exporter, all: &Acknowledged) {
    for id in &all.tasks {
        assert_eq!(exporter.task(id).await["captcha"], "turnstile", "{id}");
    }
    for (id, code) in &all.results {
        let task = exporter.task(id).await;
        let found = if code.starts_with("ERROR_") { &task["error"] } else { &task["code"] };
        assert_eq!(found, code, "{id}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_sigkill() {
    let setup = Setup::new();
    let mut all = Acknowledged::default();
    let mut pending = 0.0;
    for round in 0..KILLS {
        let exporter = setup.start();
        assert_eq!(exporter.metric(r#"captchaai_queue_tasks{account="main"}"#).await, Some(pending));
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(crate::harness::tls())
            .timeout(PATIENCE)
            .build()
            .unwrap();
        let total = Arc::new(AtomicUsize::new(0));
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            let (base, prefix) = (exporter.url(""), format!("r{round}c{number}"));
            clients.spawn(load(client.clone(), base, prefix, Arc::clone(&total)));
        }
        // A different moment each time, by the number of answers and not by the clock.
        let mut ticks = tokio::time::interval(Duration::from_millis(1));
        while total.load(Ordering::Relaxed) < 50 + 97 * round {
            ticks.tick().await;
        }
        exporter.kill();
        while let Some(kept) = clients.join_next().await {
            let kept = kept.unwrap();
            all.tasks.extend(kept.tasks);
            all.results.extend(kept.results);
        }
        let exporter = setup.start();
        verify(&exporter, &all).await;
        // What was not acknowledged may be there or not; the count must agree with the tasks.
        pending = exporter.metric(r#"captchaai_queue_tasks{account="main"}"#).await.unwrap();
        let finished = all.results.iter().filter(|(id, _)| !id.ends_with("-early")).count();
        #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
        let known = (all.tasks.len() - finished) as f64;
        #[expect(clippy::cast_precision_loss, reason = "a few hundred")]
        let doubtful = (CLIENTS * (round + 1)) as f64;
        assert!((pending - known).abs() <= doubtful, "{pending} pending, {known} by the acknowledgements");
        exporter.kill();
    }
    assert!(all.results.len() > KILLS * 50);
}
