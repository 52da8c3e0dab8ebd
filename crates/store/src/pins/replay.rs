//! Log files back to pins.

use super::PinsError;
use super::frame::{Decoder, FRAME, Said};
use coalmine_core::id::UnitKey;
use coalmine_core::time::{SpanMs, UnixMs};
use coalmine_core::traffic::pin::PinRecord;
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

/// What was found in the log, apart from the pins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Replay {
    /// Records read, those included that a later one of the same unit replaced.
    pub records: u64,
    /// Frames that were skipped because they were damaged, or because the name that they need was.
    pub damaged: u64,
    /// Files whose last frame was cut off, as a crash leaves it.
    pub torn: u64,
    /// Pins left out because they were idle for longer than the time to live.
    pub idle: u64,
}

/// The newest record of every unit.
#[derive(Debug, Default)]
pub(super) struct Newest {
    places: HashMap<UnitKey, usize>,
    records: Vec<PinRecord>,
    pub(super) found: Replay,
}

impl Newest {
    /// Reads one file over what was read before.
    pub(super) fn read_file(&mut self, path: &Path) -> Result<(), PinsError> {
        let failed = |source| PinsError::disk("reading", path, source);
        let mut file = BufReader::with_capacity(FRAME * 4096, File::open(path).map_err(failed)?);
        let mut decoder = Decoder::default();
        let mut frame = [0; FRAME];
        loop {
            match read_full(&mut file, &mut frame).map_err(failed)? {
                0 => return Ok(()),
                FRAME => self.take(decoder.read(&frame), path)?,
                _ => {
                    self.found.torn += 1;
                    return Ok(());
                }
            }
        }
    }

    fn take(&mut self, said: Said, path: &Path) -> Result<(), PinsError> {
        match said {
            Said::Pin(record) => self.put(record),
            Said::Nothing => {}
            Said::Damaged => self.found.damaged += 1,
            Said::Newer(format) => return Err(PinsError::Newer { path: path.to_owned(), format }),
        }
        Ok(())
    }

    fn put(&mut self, record: PinRecord) {
        self.found.records += 1;
        let next = self.records.len();
        let place = *self.places.entry(record.unit).or_insert(next);
        match self.records.get_mut(place) {
            Some(known) => *known = record,
            None => self.records.push(record),
        }
    }

    /// The pins that are not idle, in the order of their units' first records.
    pub(super) fn live(mut self, ttl: SpanMs, now: UnixMs) -> (Vec<PinRecord>, Replay) {
        let all = self.records.len();
        self.records.retain(|record| now.since(record.pin.last_seen) <= ttl);
        self.found.idle = (all - self.records.len()) as u64;
        (self.records, self.found)
    }
}

/// Fills `frame` as far as the file reaches; returns how far.
fn read_full(file: &mut impl Read, frame: &mut [u8; FRAME]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < FRAME {
        match file.read(&mut frame[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}
