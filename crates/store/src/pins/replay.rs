//! Log files back to pins.

use super::PinsError;
use super::frame::{Decoder, FRAME, Said};
use coalmine_core::id::UnitKey;
use coalmine_core::time::{SpanMs, UnixMs};
use coalmine_core::traffic::pin::{Followed, PinRecord};
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
    /// Reads one file over what was read before; its conversations go to `followed`.
    pub(super) fn read_file(&mut self, path: &Path, mut followed: impl FnMut(Followed)) -> Result<(), PinsError> {
        let end = each(path, |said| {
            match said {
                Said::Pin(record) => self.put(record),
                Said::Followed(conversation) => followed(conversation),
                Said::Nothing | Said::Newer(_) => {}
                Said::Damaged => self.found.damaged += 1,
            }
            Ok(())
        })?;
        self.found.torn += u64::from(end == End::Torn);
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

/// The conversations of one file, in its order.
pub(super) fn followed(path: &Path, mut take: impl FnMut(Followed) -> Result<(), PinsError>) -> Result<(), PinsError> {
    let end = each(path, |said| match said {
        Said::Followed(conversation) => take(conversation),
        Said::Pin(_) | Said::Nothing | Said::Damaged | Said::Newer(_) => Ok(()),
    });
    end.map(|_| ())
}

/// How a file ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Whole,
    Torn,
}

/// Hands on what each frame says; a file of a newer format is refused.
fn each(path: &Path, mut take: impl FnMut(Said) -> Result<(), PinsError>) -> Result<End, PinsError> {
    let failed = |source| PinsError::disk("reading", path, source);
    let mut file = BufReader::with_capacity(FRAME * 4096, File::open(path).map_err(failed)?);
    let mut decoder = Decoder::default();
    let mut frame = [0; FRAME];
    loop {
        match read_full(&mut file, &mut frame).map_err(failed)? {
            0 => return Ok(End::Whole),
            FRAME => match decoder.read(&frame) {
                Said::Newer(format) => return Err(PinsError::Newer { path: path.to_owned(), format }),
                said @ (Said::Pin(_) | Said::Followed(_) | Said::Nothing | Said::Damaged) => take(said)?,
            },
            _ => return Ok(End::Torn),
        }
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
