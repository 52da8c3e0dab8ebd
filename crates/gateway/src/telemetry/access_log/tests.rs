//! What is written, and what becomes of it where it cannot be.
use super::*;
use std::sync::Mutex;

fn refused(status: u16) -> Entry {
    let client = IpAddr::from([203, 0, 113, 9]);
    Entry::Refused(Refused { at: UnixMs(1_796_000_000_250), client, status, dialect: Dialect::Messages })
}

/// Takes so many bytes, then none until it is given more room.
#[derive(Clone, Default)]
struct Disk(Arc<Mutex<(Vec<u8>, usize)>>);

impl Disk {
    fn grow(&self, bytes: usize) {
        self.0.lock().unwrap().1 += bytes;
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().0.clone()).unwrap()
    }
}

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut disk = self.0.lock().unwrap();
        let room = bytes.len().min(disk.1);
        if room == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        disk.1 -= room;
        disk.0.extend_from_slice(&bytes[..room]);
        Ok(room)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn page(out: Out) -> (Page, Arc<AccessLog>) {
    let log = Arc::new(AccessLog::new(LogTarget::Stderr));
    (Page { out, ..Page::new(log.clone()) }, log)
}

#[test]
fn a_line_says_what_is_known_and_no_more() {
    let line = serde_json::to_string(&refused(429).line()).unwrap();
    assert_eq!(
        line,
        r#"{"ts":"2026-11-30T00:53:20.250Z","surface":"messages","client":"203.0.113.9","status":429,"ending":"refused","blame":"client"}"#
    );
}

#[test]
fn a_full_disk_loses_lines_counts_them_and_tears_none_of_the_later_ones() {
    let disk = Disk::default();
    let (mut page, log) = page(Out::Test(Box::new(disk.clone())));
    let line = serde_json::to_string(&refused(401).line()).unwrap().len() + 1;
    disk.grow(line + 20);
    (0..3).for_each(|_| log.note(refused(401)));
    page.write_what_waits();
    assert_eq!(log.lost(), 2, "the second is torn, the third is gone");
    log.note(refused(402));
    page.write_what_waits();
    assert_eq!(log.lost(), 3);
    disk.grow(1_000);
    (0..2).for_each(|_| log.note(refused(403)));
    page.write_what_waits();
    let text = disk.text();
    let statuses: Vec<Option<u64>> = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).ok().and_then(|line| line["status"].as_u64()))
        .collect();
    assert_eq!(statuses, [Some(401), None, Some(403), Some(403)]);
    assert_eq!(log.lost(), 3);
}

#[test]
fn a_file_that_is_moved_away_is_begun_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.jsonl");
    let (mut page, log) = page(Out::File { path: path.clone(), open: None });
    for (n, status) in [401, 402, 403].into_iter().enumerate() {
        log.note(refused(status));
        page.write_what_waits();
        if n == 0 {
            std::fs::rename(&path, folder.path().join("access.jsonl.1")).unwrap();
        }
    }
    let count = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap().lines().count();
    assert_eq!((count("access.jsonl.1"), count("access.jsonl"), log.lost()), (1, 2, 0));
}

#[test]
fn a_place_that_cannot_be_written_loses_lines_and_nothing_else() {
    let (mut page, log) = page(Out::File { path: PathBuf::from("/nowhere/at/all"), open: None });
    log.note(refused(401));
    page.write_what_waits();
    assert_eq!(log.lost(), 1);
}

#[test]
fn the_writer_writes_what_is_left_when_it_is_ended() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.jsonl");
    let log = Arc::new(AccessLog::new(LogTarget::File(path.clone())));
    let writer = Writer::start(log.clone()).unwrap();
    (0..10).for_each(|_| log.note(refused(401)));
    writer.end().blocking_recv().unwrap();
    assert_eq!(std::fs::read_to_string(path).unwrap().lines().count(), 10);
}
