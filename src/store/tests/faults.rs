//! The store while the database or its disk fails, and what keeps it from failing.

use rusqlite::Connection;

use super::*;

#[tokio::test]
async fn while_a_stranger_holds_the_database_pingbacks_are_spilled_and_come_back() {
    let fixture = Fixture::new();
    let store = fixture.open();
    store.register(vec![fixture.registration("1")]).await.unwrap();
    let stranger = Connection::open(fixture.options().path).unwrap();
    stranger.execute_batch("BEGIN IMMEDIATE").unwrap();

    keep(&store, fixture.pingback("1", "code")).await;
    assert_eq!(fixture.metrics.pingbacks_spilled.get(), 1);
    assert!(store.write_failure().unwrap().contains("locked"), "{:?}", store.write_failure());
    assert_eq!(store.register(vec![fixture.registration("2")]).await, Err(StoreError::Unavailable));
    assert_eq!(task(&store, "1").await.unwrap().finish, None);

    let stop = CancellationToken::new();
    let id = TaskId::parse("1").unwrap();
    let wait = store.wait_for_end(&id, Duration::from_mins(1), &stop);
    let release = async { stranger.execute_batch("ROLLBACK").unwrap() };
    let (ended, ()) = tokio::join!(wait, release);
    assert_eq!(ended.unwrap().unwrap().finish.unwrap().outcome.code(), Some("code"));
    eventually(|| store.write_failure().is_none()).await;
    assert_eq!(store.register(vec![fixture.registration("2")]).await, Ok(()));
    assert_eq!(fixture.metrics.pingback_duplicates.get(), 0);
}

#[tokio::test]
async fn a_database_file_that_is_moved_away_takes_nothing_with_it() {
    let fixture = Fixture::new();
    let store = fixture.open();
    store.register(vec![fixture.registration("1")]).await.unwrap();
    let (path, away) = (fixture.options().path, fixture.folder.path().join("away.db"));
    std::fs::rename(&path, &away).unwrap();
    eventually(|| store.write_failure().is_some()).await;
    keep(&store, fixture.pingback("1", "code")).await;
    assert_eq!(fixture.metrics.pingbacks_spilled.get(), 1);
    assert!(store.write_failure().unwrap().contains("removed or replaced"));

    std::fs::rename(&away, &path).unwrap();
    let stop = CancellationToken::new();
    let id = TaskId::parse("1").unwrap();
    let ended = store.wait_for_end(&id, Duration::from_secs(20), &stop).await.unwrap().unwrap();
    assert_eq!(ended.finish.unwrap().outcome.code(), Some("code"));
    eventually(|| store.write_failure().is_none()).await;
}

#[tokio::test]
async fn what_waits_in_the_spill_folder_is_not_missed() {
    let fixture = Fixture::new();
    let store = fixture.open();
    store.register(vec![fixture.registration("1")]).await.unwrap();
    let stranger = Connection::open(fixture.options().path).unwrap();
    stranger.execute_batch("BEGIN IMMEDIATE").unwrap();
    keep(&store, fixture.pingback("1", "code")).await;
    fixture.pass(DEADLINE + Duration::from_secs(5));
    stranger.execute_batch("ROLLBACK").unwrap();
    let mut passed = Err(StoreError::Unavailable);
    for _ in 0..1_000_000 {
        passed = store.pass_deadlines(10).await;
        if passed.is_ok() {
            break;
        }
    }
    assert_eq!(passed, Ok(0));
    eventually(|| store.write_failure().is_none()).await;
    assert_eq!(store.pass_deadlines(10).await, Ok(0));
    assert_eq!(Fixture::count(&fixture.metrics.pingbacks_expected, &["main"]), 1);
    assert_eq!(Fixture::count(&fixture.metrics.pingbacks_missed, &["main"]), 0);
}

#[tokio::test]
async fn a_spilled_pingback_that_the_store_does_not_take_holds_up_nobody() {
    let fixture = Fixture::new();
    let store = fixture.open();
    keep(&store, fixture.pingback("odd", "code")).await;
    store.close().await;
    drop(store);
    // A row that nobody can read: an end without its source.
    let stranger = Connection::open(fixture.options().path).unwrap();
    stranger.execute_batch("UPDATE tasks SET source = NULL").unwrap();
    drop(stranger);
    let spilled = ["before", "odd", "after"].map(|id| fixture.pingback(id, "code"));
    Spill::open(&fixture.options().spill_dir, fixture.clock.now()).unwrap().append(spilled.iter()).unwrap();
    let store = fixture.open();
    let folder = fixture.options().spill_dir;
    let extension = |name: &str| {
        let files = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
        files.filter(|path| path.extension().is_some_and(|extension| extension == name)).count()
    };
    eventually(|| extension("jsonl") == 0).await;
    assert_eq!(extension("rejected"), 1);
    assert_eq!(store.write_failure(), None);
    for id in ["before", "after"] {
        assert_eq!(task(&store, id).await.unwrap().finish.unwrap().outcome.code(), Some("code"));
    }
}

#[tokio::test]
async fn what_a_killed_process_spilled_is_imported_by_the_next() {
    let fixture = Fixture::new();
    let options = fixture.options();
    let mut spill = Spill::open(&options.spill_dir, fixture.clock.now()).unwrap();
    spill.append([fixture.pingback("1", "code")].iter()).unwrap();
    let store = fixture.open();
    store.close().await;
    drop(store);
    let store = fixture.open();
    assert_eq!(task(&store, "1").await.unwrap().finish.unwrap().outcome.code(), Some("code"));
    assert_eq!(std::fs::read_dir(&options.spill_dir).unwrap().count(), 0);
}

#[tokio::test]
async fn when_neither_can_be_written_nobody_is_told_that_it_is_kept() {
    let fixture = Fixture::new();
    let store = fixture.open();
    let stranger = Connection::open(fixture.options().path).unwrap();
    stranger.execute_batch("BEGIN IMMEDIATE").unwrap();
    std::fs::remove_dir(fixture.options().spill_dir).unwrap();
    let refused = store.keep_pingback(fixture.pingback("1", "code"), Instant::now()).await;
    assert_eq!(refused, Err(StoreError::Unavailable));
    assert!(fixture.metrics.store_errors.get() >= 2);
}

#[tokio::test]
async fn a_second_store_on_the_same_file_is_refused() {
    let fixture = Fixture::new();
    let store = fixture.open();
    let link = fixture.folder.path().join("link.db");
    std::os::unix::fs::symlink(fixture.options().path, &link).unwrap();
    for path in [fixture.options().path, link] {
        let options = Options { path, ..fixture.options() };
        let refused = Store::open(&options, fixture.metrics.clone(), fixture.clock.clone());
        assert!(matches!(refused, Err(OpenError::InUse(_))), "{refused:?}");
    }
    store.close().await;
    drop(store);
    fixture.open();
}

#[tokio::test]
async fn a_store_of_a_newer_version_is_refused() {
    let fixture = Fixture::new();
    let store = fixture.open();
    store.close().await;
    drop(store);
    let stranger = Connection::open(fixture.options().path).unwrap();
    stranger.pragma_update(None, "user_version", 99).unwrap();
    let refused = Store::open(&fixture.options(), fixture.metrics.clone(), fixture.clock.clone());
    assert!(matches!(refused, Err(OpenError::TooNew { found: 99, known: 3, .. })), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_stays_short_under_load_even_when_others_read_all_the_time() {
    let fixture = Fixture::new();
    let store = fixture.open();
    let stop = CancellationToken::new();
    let mut readers = tokio::task::JoinSet::new();
    for reader in 0..32 {
        let (store, stop) = (store.clone(), stop.clone());
        let id = TaskId::parse(&format!("{reader}-1")).unwrap();
        readers.spawn(async move {
            while !stop.is_cancelled() {
                // An error means that too many ask; that is not what is tested here.
                let _ = store.task(&id).await;
            }
        });
    }
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..64 {
        let (store, first) = (store.clone(), fixture.pingback("1", &"c".repeat(600)));
        clients.spawn(async move {
            for number in 0..1500 {
                let id = TaskId::parse(&format!("{client}-{number}")).unwrap();
                store.keep_pingback(Pingback { id, ..first.clone() }, Instant::now()).await.unwrap();
            }
        });
    }
    while let Some(done) = clients.join_next().await {
        done.unwrap();
    }
    stop.cancel();
    while readers.join_next().await.is_some() {}
    let log = std::fs::metadata(sqlite::log_path(&fixture.options().path)).unwrap().len();
    assert!(log < 64 << 20, "{log} bytes");
}
