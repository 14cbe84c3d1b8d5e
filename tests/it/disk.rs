//! A full disk: nothing acknowledged is lost, and all is well again once there is room.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::harness::{Exporter, Setup, eventually, run};

/// A small file system of its own; unmounted when dropped.
pub(crate) struct SmallDisk {
    pub(crate) path: PathBuf,
}

impl SmallDisk {
    pub(crate) fn mount(path: PathBuf) -> Self {
        fs::create_dir(&path).unwrap();
        let (mounted, output) =
            as_root(&["mount", "-t", "tmpfs", "-o", "size=4m,mode=1777", "tmpfs", path.to_str().unwrap()]);
        assert!(mounted, "this test mounts a tmpfs, which needs root or sudo: {output}");
        Self { path }
    }

    /// Takes all the room that is left.
    pub(crate) fn fill(&self) -> PathBuf {
        let path = self.path.join("ballast");
        let mut file = File::create(&path).unwrap();
        let block = [0_u8; 4096];
        for _ in 0..2000 {
            if file.write_all(&block).is_err() {
                return path;
            }
        }
        panic!("the disk is not small");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = as_root(&["umount", "-l", self.path.to_str().unwrap()]);
    }
}

/// Only root may mount; somebody else needs sudo.
fn as_root(command: &[&str]) -> (bool, String) {
    if run("id", &["-u"]).1.trim() == "0" { run(command[0], &command[1..]) } else { run("sudo", command) }
}

/// Sends pingbacks until the program says that it is not ready; returns those that it acknowledged.
async fn send_until_not_ready(exporter: &Exporter, prefix: &str) -> Vec<String> {
    let mut kept = Vec::new();
    for number in 0..2000 {
        let id = format!("{prefix}-{number}");
        let (status, _) = exporter.get(&format!("/pingback?id={id}&code={}", "c".repeat(2000))).await;
        if status == 200 {
            kept.push(id);
        }
        let (ready, reason) = exporter.get("/-/ready").await;
        if ready != 200 {
            assert_eq!(ready, 503);
            assert!(reason.contains("full"), "{reason}");
            return kept;
        }
    }
    panic!("a full disk was not noticed");
}

async fn all_there(exporter: &Exporter, ids: &[String]) {
    for id in ids {
        eventually(id, async || (exporter.get(&format!("/api/v1/tasks/{id}")).await.0 == 200).then_some(())).await;
    }
}

fn files(folder: &Path) -> usize {
    fs::read_dir(folder).unwrap().count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_spills_to_another_and_recovers_by_itself() {
    let mut setup = Setup::new();
    let disk = SmallDisk::mount(setup.folder.path().join("disk"));
    let spill = setup.folder.path().join("spill");
    setup.storage =
        format!("{{ url: \"sqlite:{}/store.db\", spill_dir: \"{}\" }}", disk.path.display(), spill.display());
    let exporter = setup.start();
    exporter.register(json!({"id": "registered"})).await;
    let ballast = disk.fill();
    let mut kept = send_until_not_ready(&exporter, "full").await;
    // Everything is acknowledged still, and on disk: in the spill folder.
    for number in 0..50 {
        let id = format!("spilled-{number}");
        exporter.pingback(&format!("id={id}&code=solution")).await;
        kept.push(id);
    }
    exporter.pingback("id=registered&code=solution").await;
    kept.push("registered".to_owned());
    assert_eq!(exporter.post("/api/v1/tasks", json!({"id": "refused"})).await.0, 503);
    // Background work that finds nothing to write proves nothing: not ready it stays.
    let errors = exporter.metric("captchaai_store_errors_total").await.unwrap();
    eventually("two more attempts", async || {
        (exporter.metric("captchaai_store_errors_total").await? >= errors + 2.0).then_some(())
    })
    .await;
    assert_eq!(exporter.get("/-/ready").await.0, 503);
    assert_eq!(exporter.log().matches("the store can be written again").count(), 0, "{}", exporter.log());
    assert!(files(&spill) > 0);
    // A kill in this state loses nothing either.
    exporter.kill();
    fs::remove_file(ballast).unwrap();
    let exporter = setup.start();
    all_there(&exporter, &kept).await;

    // Once more, without the kill: room comes back while the program runs.
    let ballast = disk.fill();
    let mut again = send_until_not_ready(&exporter, "again").await;
    exporter.pingback("id=again-spilled&code=solution").await;
    again.push("again-spilled".to_owned());
    fs::remove_file(ballast).unwrap();
    all_there(&exporter, &again).await;
    eventually("readiness", async || (exporter.get("/-/ready").await.0 == 200).then_some(())).await;
    eventually("an empty spill folder", async || (files(&spill) == 0).then_some(())).await;
    all_there(&exporter, &kept).await;
    assert_eq!(exporter.task("registered").await["code"], "solution");
    exporter.register(json!({"id": "welcome"})).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_without_another_acknowledges_nothing_that_it_cannot_keep() {
    let mut setup = Setup::new();
    let disk = SmallDisk::mount(setup.folder.path().join("disk"));
    setup.storage = format!("{{ url: \"sqlite:{0}/store.db\", spill_dir: \"{0}/spill\" }}", disk.path.display());
    let exporter = setup.start();
    let ballast = disk.fill();
    let mut kept = Vec::new();
    let mut refused = 0;
    for number in 0..200 {
        let id = format!("full-{number}");
        match exporter.get(&format!("/pingback?id={id}&code={}", "c".repeat(8000))).await.0.as_u16() {
            200 => kept.push(id),
            503 => refused += 1,
            other => panic!("{other}"),
        }
    }
    assert!(refused > 0);
    let (ready, reason) = exporter.get("/-/ready").await;
    assert_eq!(ready, 503);
    assert!(reason.contains("the spill folder cannot be written either"), "{reason}");
    let lines = exporter.log().matches("cannot be written either").count();
    assert!((1..=2).contains(&lines), "{refused} refusals, {lines} lines in the log");
    exporter.kill();
    fs::remove_file(ballast).unwrap();
    let exporter = setup.start();
    all_there(&exporter, &kept).await;
}
