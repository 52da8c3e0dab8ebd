//! What becomes of a store whose file is locked, full, gone or replaced: calls say so, and succeed
//! again when the cause is gone.

use super::SqliteStore;
use crate::conformance::sample;
use crate::{Seeded, Store, StoreError};
use rusqlite::Connection;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

struct Place {
    dir: TempDir,
}

impl Place {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn open(&self, name: &str) -> SqliteStore {
        SqliteStore::open(&self.path(name)).unwrap()
    }
}

async fn put(store: &SqliteStore, text: &str) -> Result<(), StoreError> {
    store.put_document(&sample::tenant(), "name", text).await
}

async fn get(store: &SqliteStore) -> Result<Option<String>, StoreError> {
    store.document(&sample::tenant(), "name").await
}

fn unavailable(answer: Result<(), StoreError>, how: &str) {
    let error = answer.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
    let said = error.to_string();
    assert!(said.contains(how) && said.contains("state.db"), "{said}");
}

#[tokio::test]
async fn a_locked_file_is_told_and_its_end_noticed() {
    let place = Place::new();
    let store = place.open("state.db");
    put(&store, "before").await.unwrap();
    let other = Connection::open(place.path("state.db")).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    unavailable(put(&store, "meanwhile").await, "locked by another program; end it");
    assert_eq!(get(&store).await.unwrap().as_deref(), Some("before"), "reading goes on");
    store.ping().await.unwrap();
    other.execute_batch("ROLLBACK").unwrap();
    put(&store, "after").await.unwrap();
    assert_eq!(get(&store).await.unwrap().as_deref(), Some("after"));
}

#[tokio::test]
async fn a_full_disk_is_told_and_room_noticed() {
    let place = Place::new();
    let store = place.open("state.db");
    put(&store, "before").await.unwrap();
    limit_pages(&store, 60).await;
    let large = "x".repeat(1_000_000);
    unavailable(put(&store, &large).await, "no room left");
    assert_eq!(get(&store).await.unwrap().as_deref(), Some("before"));
    limit_pages(&store, 1_000_000).await;
    put(&store, &large).await.unwrap();
    assert_eq!(get(&store).await.unwrap().map(|text| text.len()), Some(1_000_000));
}

/// SQLite answers a write beyond this number of pages as it answers a full disk.
async fn limit_pages(store: &SqliteStore, pages: u32) {
    let set = move |db: &mut Connection| Ok(db.execute_batch(&format!("PRAGMA max_page_count = {pages}"))?);
    store.writer.ask("limiting", set).await.unwrap();
}

#[tokio::test]
async fn a_missing_file_is_told_never_made_anew_and_its_return_noticed() {
    let place = Place::new();
    let store = place.open("state.db");
    put(&store, "before").await.unwrap();
    std::fs::rename(place.path("state.db"), place.path("moved.db")).unwrap();
    unavailable(put(&store, "lost").await, "cannot be found; put it back");
    unavailable(get(&store).await.map(|_| ()), "cannot be found");
    unavailable(store.ping().await, "cannot be found");
    assert!(!place.path("state.db").exists(), "an empty store is no substitute");
    std::fs::rename(place.path("moved.db"), place.path("state.db")).unwrap();
    assert_eq!(get(&store).await.unwrap().as_deref(), Some("before"));
    put(&store, "after").await.unwrap();
    drop(store);
    assert_eq!(get(&place.open("state.db")).await.unwrap().as_deref(), Some("after"));
}

/// The log beside the old file must not be replayed into the new one.
#[tokio::test]
async fn a_replaced_file_is_opened_and_the_old_one_let_go() {
    let place = Place::new();
    let other = place.open("backup.db");
    put(&other, "from the backup").await.unwrap();
    close(other, &place.path("backup.db"));
    let store = place.open("state.db");
    put(&store, "before").await.unwrap();
    std::fs::rename(place.path("state.db"), place.path("old.db")).unwrap();
    std::fs::rename(place.path("backup.db"), place.path("state.db")).unwrap();
    for _ in 0..4 {
        assert_eq!(get(&store).await.unwrap().as_deref(), Some("from the backup"));
    }
    put(&store, "after").await.unwrap();
    drop(store);
    for (name, text) in [("old.db", "before"), ("state.db", "after")] {
        assert_eq!(get(&place.open(name)).await.unwrap().as_deref(), Some(text), "{name}");
        let check = Connection::open(place.path(name)).unwrap();
        let verdict: String = check.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(verdict, "ok", "{name}");
    }
}

/// Waits until the threads of a store have ended and its log is written back.
fn close(store: SqliteStore, path: &Path) {
    drop(store);
    let log = path.with_extension("db-wal");
    while log.exists() {
        std::thread::yield_now();
    }
}

#[tokio::test]
async fn what_is_no_store_is_refused_untouched() {
    let place = Place::new();
    std::fs::write(place.path("state.db"), "these are not the pages you are looking for".repeat(100)).unwrap();
    let before = std::fs::read(place.path("state.db")).unwrap();
    let error = SqliteStore::open(&place.path("state.db")).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
    assert_eq!(std::fs::read(place.path("state.db")).unwrap(), before);
}

#[tokio::test]
async fn a_directory_in_the_way_is_told() {
    let place = Place::new();
    std::fs::create_dir(place.path("state.db")).unwrap();
    unavailable(SqliteStore::open(&place.path("state.db")).map(|_| ()), "cannot be read or written");
}

#[tokio::test]
async fn two_processes_may_open_it_at_once() {
    let place = Place::new();
    let (one, other) = (place.open("state.db"), place.open("state.db"));
    let (tenant, route, stable) = (sample::tenant(), "support-agent".into(), sample::stable());
    let (_, first) = one.seed_route(&tenant, &route, &stable).await.unwrap();
    let (_, second) = other.seed_route(&tenant, &route, &stable).await.unwrap();
    assert_eq!((first, second), (Seeded::New, Seeded::Known));
}
