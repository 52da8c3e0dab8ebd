//! The bytes of a pin log: frames of 48 bytes, each with its own checksum, so that a torn or damaged
//! one costs itself and nothing after it.
//!
//! | bytes | what |
//! |---|---|
//! | 0..4 | the checksum of bytes 4..48 |
//! | 4 | kind: header, version, release name, pin, conversation |
//! | 5..48 | by kind; numbers are little-endian |
//!
//! Versions and release names are long and few: each is written once per file and then named by a
//! number, before the first pin that needs it. A release name takes as many frames as it is long.
//!
//! Format 1 had no conversations, and the first bytes of a BLAKE3 for its checksums. A header has that still, so that a
//! build which reads format 1 alone knows a newer file for what it is; any other frame may have either.

use coalmine_core::id::{ReleaseId, UnitKey};
use coalmine_core::time::UnixMs;
use coalmine_core::traffic::pin::{Arm, Followed, Membership, Pin, PinRecord, Stratum};
use coalmine_core::version::VersionId;
use std::collections::HashMap;
use std::sync::Arc;

/// The length of a frame.
pub(super) const FRAME: usize = 48;
/// The format that this build writes, and the newest that it reads.
pub(super) const FORMAT: u32 = 2;

const BODY: usize = FRAME - 4;
const NAME_PART: usize = 36;
const MAGIC: &[u8; 13] = b"coalmine pins";

const HEADER_KIND: u8 = 1;
const VERSION_KIND: u8 = 2;
const RELEASE_KIND: u8 = 3;
const PIN_KIND: u8 = 4;
const FOLLOWED_KIND: u8 = 5;

/// A time takes six bytes of a conversation: enough for 8,900 years.
const TIME_BYTES: usize = 6;

/// The longest release name that can be written, in bytes.
pub(super) const LONGEST_NAME: usize = NAME_PART * u8::MAX as usize;

/// Writes pins as frames; knows which names the file has already.
#[derive(Debug, Default)]
pub(super) struct Encoder {
    versions: Names<VersionId>,
    releases: Names<Arc<ReleaseId>>,
}

/// Names and their numbers in one file. Those since the last `keep` are not in the file yet.
#[derive(Debug)]
struct Names<K> {
    numbers: HashMap<K, u32>,
    fresh: Vec<K>,
    /// What was asked for last: most often it is asked for again.
    last: Option<(K, u32)>,
}

impl<K> Default for Names<K> {
    fn default() -> Self {
        Self { numbers: HashMap::new(), fresh: Vec::new(), last: None }
    }
}

impl<K: Clone + Eq + std::hash::Hash> Names<K> {
    /// The number of `name`, and whether it is new.
    fn number(&mut self, name: &K) -> (u32, bool) {
        if let Some((_, known)) = self.last.as_ref().filter(|(last, _)| last == name) {
            return (*known, false);
        }
        if let Some(known) = self.numbers.get(name) {
            self.last = Some((name.clone(), *known));
            return (*known, false);
        }
        let next = u32::try_from(self.numbers.len()).unwrap_or(u32::MAX);
        self.numbers.insert(name.clone(), next);
        self.fresh.push(name.clone());
        (next, true)
    }

    fn forget_fresh(&mut self) {
        self.last = None;
        for name in self.fresh.drain(..) {
            self.numbers.remove(&name);
        }
    }
}

impl Encoder {
    /// The frame that opens a file.
    pub(super) fn header(into: &mut Vec<u8>) {
        let mut frame = Frame::new(HEADER_KIND);
        frame.put(MAGIC).put(&FORMAT.to_le_bytes());
        frame.seal_by(first_checksum, into);
    }

    /// Adds the frames of `record`. What it adds counts as written once [`Self::keep`] is called.
    pub(super) fn pin(&mut self, record: &PinRecord, into: &mut Vec<u8>) {
        let version = self.version(record.pin.version, into);
        let mut frame = Frame::new(PIN_KIND);
        let member = record.pin.member.as_ref();
        let release = member.map_or(0, |member| self.release(&member.release, into) + 1);
        let (arm, stratum, exposed_at) =
            member.map_or((0, 0, 0), |member| (arm_code(member.arm), member.stratum.0, member.exposed_at.0));
        frame.put(&record.unit.0.to_le_bytes()).put(&version.to_le_bytes()).put(&release.to_le_bytes());
        frame.put(&[arm]).put(&stratum.to_le_bytes()).put(&exposed_at.to_le_bytes());
        frame.put(&record.pin.last_seen.0.to_le_bytes());
        frame.seal(into);
    }

    /// Adds the frames of `followed`, likewise.
    pub(super) fn followed(&mut self, followed: &Followed, into: &mut Vec<u8>) {
        let version = self.version(followed.version, into);
        let mut frame = Frame::new(FOLLOWED_KIND);
        frame.put(&followed.conversation.to_le_bytes()).put(&followed.unit.0.to_le_bytes());
        frame.put(&version.to_le_bytes()).put(&followed.at.0.to_le_bytes()[..TIME_BYTES]);
        frame.seal(into);
    }

    /// The file has what was added.
    pub(super) fn keep(&mut self) {
        self.versions.fresh.clear();
        self.releases.fresh.clear();
    }

    /// The file does not have what was added: its names must be written again.
    pub(super) fn forget(&mut self) {
        self.versions.forget_fresh();
        self.releases.forget_fresh();
    }

    fn version(&mut self, version: VersionId, into: &mut Vec<u8>) -> u32 {
        let (number, new) = self.versions.number(&version);
        if new {
            let mut frame = Frame::new(VERSION_KIND);
            frame.put(&number.to_le_bytes()).put(&version.0);
            frame.seal(into);
        }
        number
    }

    fn release(&mut self, release: &Arc<ReleaseId>, into: &mut Vec<u8>) -> u32 {
        let (number, new) = self.releases.number(release);
        if new {
            let name = release.as_str().as_bytes();
            let count = u8::try_from(name.len().div_ceil(NAME_PART).max(1)).unwrap_or(u8::MAX);
            let parts = name.chunks(NAME_PART).chain(name.is_empty().then_some(name));
            for (part, text) in (0..count).zip(parts) {
                let length = u8::try_from(text.len()).unwrap_or(u8::MAX);
                let mut frame = Frame::new(RELEASE_KIND);
                frame.put(&number.to_le_bytes()).put(&[part, count, length]).put(text);
                frame.seal(into);
            }
        }
        number
    }
}

/// A frame in the making.
struct Frame {
    bytes: [u8; FRAME],
    used: usize,
}

impl Frame {
    fn new(kind: u8) -> Self {
        let mut bytes = [0; FRAME];
        bytes[4] = kind;
        Self { bytes, used: 5 }
    }

    fn put(&mut self, part: &[u8]) -> &mut Self {
        let end = self.used + part.len();
        self.bytes[self.used..end].copy_from_slice(part);
        self.used = end;
        self
    }

    fn seal(self, into: &mut Vec<u8>) {
        self.seal_by(checksum, into);
    }

    fn seal_by(mut self, checksum: impl Fn(&[u8; FRAME]) -> [u8; 4], into: &mut Vec<u8>) {
        let sum = checksum(&self.bytes);
        self.bytes[..4].copy_from_slice(&sum);
        into.extend_from_slice(&self.bytes);
    }
}

/// The words of a frame, the first without its first half, each multiplied into a state of 64 bits whose halves of the
/// product are folded: damage goes unseen by a chance of one in 2^32. It is against tearing and decay, not against whoever
/// can write to the file.
fn checksum(frame: &[u8; FRAME]) -> [u8; 4] {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let (words, _) = frame.as_chunks::<8>();
    let mut state = ODD;
    for (place, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let word = if place == 0 { word >> 32 } else { word };
        let product = u128::from(state ^ word) * u128::from(ODD);
        state = (product as u64) ^ (product >> 64) as u64;
    }
    let [a, b, c, d, ..] = (state ^ (state >> 32)).to_le_bytes();
    [a, b, c, d]
}

/// That of format 1, and of headers.
fn first_checksum(frame: &[u8; FRAME]) -> [u8; 4] {
    let hash = blake3::hash(&frame[4..]);
    let mut sum = [0; 4];
    sum.copy_from_slice(&hash.as_bytes()[..4]);
    sum
}

/// Reads the frames of one file, in order.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    versions: HashMap<u32, VersionId>,
    releases: HashMap<u32, Arc<ReleaseId>>,
    /// The name that is being put together: its number and the parts so far.
    name: Option<(u32, u8, Vec<u8>)>,
}

/// What a frame says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    /// A pin.
    Pin(PinRecord),
    /// A conversation.
    Followed(Followed),
    /// A name that later pins need, or the header.
    Nothing,
    /// It is damaged, or needs a name whose frame was.
    Damaged,
    /// The file is of a newer format.
    Newer(u32),
}

impl Decoder {
    /// Reads the next frame.
    pub(super) fn read(&mut self, frame: &[u8; FRAME]) -> Said {
        if frame[..4] != checksum(frame) && frame[..4] != first_checksum(frame) {
            return Said::Damaged;
        }
        let mut body = Body { rest: &frame[5..] };
        let said = match frame[4] {
            HEADER_KIND => body.header(),
            VERSION_KIND => self.version(&mut body),
            RELEASE_KIND => self.release_part(&mut body),
            PIN_KIND => self.pin(&mut body),
            FOLLOWED_KIND => self.followed(&mut body),
            _ => None,
        };
        said.unwrap_or(Said::Damaged)
    }

    fn version(&mut self, body: &mut Body<'_>) -> Option<Said> {
        let number = body.u32()?;
        self.versions.insert(number, VersionId(body.take()?));
        Some(Said::Nothing)
    }

    fn release_part(&mut self, body: &mut Body<'_>) -> Option<Said> {
        let number = body.u32()?;
        let [part, count, length] = body.take()?;
        let text = body.rest.get(..usize::from(length))?;
        let mut name = match self.name.take() {
            _ if part == 0 => Vec::new(),
            Some((of, next, name)) if of == number && next == part => name,
            Some(_) | None => return None,
        };
        name.extend_from_slice(text);
        let next = part.checked_add(1)?;
        if next < count {
            self.name = Some((number, next, name));
        } else {
            self.releases.insert(number, Arc::new(ReleaseId(String::from_utf8(name).ok()?)));
        }
        Some(Said::Nothing)
    }

    fn pin(&self, body: &mut Body<'_>) -> Option<Said> {
        let unit = UnitKey(u128::from_le_bytes(body.take()?));
        let version = *self.versions.get(&body.u32()?)?;
        let release = body.u32()?;
        let [arm] = body.take()?;
        let stratum = Stratum(u16::from_le_bytes(body.take()?));
        let exposed_at = UnixMs(u64::from_le_bytes(body.take()?));
        let last_seen = UnixMs(u64::from_le_bytes(body.take()?));
        let member = match release.checked_sub(1) {
            None => None,
            Some(number) => {
                let release = Arc::clone(self.releases.get(&number)?);
                Some(Membership { release, arm: arm_of(arm)?, stratum, exposed_at })
            }
        };
        Some(Said::Pin(PinRecord { unit, pin: Pin { version, member, last_seen } }))
    }

    fn followed(&self, body: &mut Body<'_>) -> Option<Said> {
        let conversation = u128::from_le_bytes(body.take()?);
        let unit = UnitKey(u128::from_le_bytes(body.take()?));
        let version = *self.versions.get(&body.u32()?)?;
        let mut at = [0; 8];
        at[..TIME_BYTES].copy_from_slice(&body.take::<TIME_BYTES>()?);
        Some(Said::Followed(Followed { conversation, unit, version, at: UnixMs(u64::from_le_bytes(at)) }))
    }
}

/// What is left of a frame's body.
struct Body<'a> {
    rest: &'a [u8],
}

impl Body<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*taken)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn header(&mut self) -> Option<Said> {
        let magic: [u8; MAGIC.len()] = self.take()?;
        let format = self.u32()?;
        match (magic == *MAGIC, format) {
            (false, _) => None,
            (true, 1..=FORMAT) => Some(Said::Nothing),
            (true, newer) => Some(Said::Newer(newer)),
        }
    }
}

const fn arm_code(arm: Arm) -> u8 {
    match arm {
        Arm::Stable => 1,
        Arm::Control => 2,
        Arm::Canary => 3,
    }
}

const fn arm_of(code: u8) -> Option<Arm> {
    match code {
        1 => Some(Arm::Stable),
        2 => Some(Arm::Control),
        3 => Some(Arm::Canary),
        _ => None,
    }
}

const _: () = assert!(BODY == 1 + 16 + 4 + 4 + 1 + 2 + 8 + 8, "a pin fills its frame");
const _: () = assert!(BODY > 16 + 16 + 4 + TIME_BYTES, "a conversation fits into one");

#[cfg(test)]
mod tests {
    use super::*;

    fn pin() -> PinRecord {
        let member = Membership {
            release: Arc::new(ReleaseId("r".repeat(40))),
            arm: Arm::Canary,
            stratum: Stratum(0x0102),
            exposed_at: UnixMs(0x1111),
        };
        let pin = Pin { version: VersionId([0xaa; 32]), member: Some(member), last_seen: UnixMs(0x2222) };
        PinRecord { unit: UnitKey(0x3333), pin }
    }

    fn followed() -> Followed {
        let (version, at) = (VersionId([0xaa; 32]), UnixMs(0x0102_0304_0506));
        Followed { conversation: 0x4444 << 64, unit: UnitKey(0x3333), version, at }
    }

    #[test]
    fn the_bytes_of_a_log_are_as_they_were() {
        let (mut encoder, mut bytes) = (Encoder::default(), Vec::new());
        Encoder::header(&mut bytes);
        encoder.pin(&pin(), &mut bytes);
        encoder.followed(&followed(), &mut bytes);
        let lines: Vec<String> =
            bytes.chunks(FRAME).map(|frame| frame.iter().map(|byte| format!("{byte:02x}")).collect()).collect();
        insta::assert_snapshot!(lines.join("\n"));
        assert_eq!(read(&bytes), [Said::Pin(pin()), Said::Followed(followed())]);
    }

    /// What a log of these bytes says.
    fn read(bytes: &[u8]) -> Vec<Said> {
        let mut decoder = Decoder::default();
        let (frames, rest) = bytes.as_chunks::<FRAME>();
        assert!(rest.is_empty());
        frames.iter().map(|frame| decoder.read(frame)).filter(|said| *said != Said::Nothing).collect()
    }

    #[test]
    fn a_log_of_format_1_is_read() {
        let lines = [
            "c7a95b4b01636f616c6d696e652070696e73010000000000000000000000000000000000000000000000000000000000",
            "b3bd04f30200000000aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa00000000000000",
            "fedc14ac0300000000000224727272727272727272727272727272727272727272727272727272727272727272727272",
            "ebe2adf60300000000010204727272720000000000000000000000000000000000000000000000000000000000000000",
            "ca6f279a0433330000000000000000000000000000000000000100000003020111110000000000002222000000000000",
        ];
        let byte = |line: &str, at: usize| u8::from_str_radix(&line[2 * at..2 * at + 2], 16).unwrap();
        let bytes: Vec<u8> = lines.iter().flat_map(|line| (0..FRAME).map(|at| byte(line, at))).collect();
        assert_eq!(read(&bytes), [Said::Pin(pin())]);
    }

    #[test]
    fn a_newer_log_is_refused_by_its_first_frame() {
        let mut frame = Frame::new(HEADER_KIND);
        frame.put(MAGIC).put(&(FORMAT + 1).to_le_bytes());
        let mut bytes = Vec::new();
        frame.seal_by(first_checksum, &mut bytes);
        assert_eq!(read(&bytes), [Said::Newer(FORMAT + 1)]);
    }

    #[test]
    fn no_two_damages_of_a_frame_have_one_checksum() {
        let frame = std::array::from_fn::<u8, FRAME, _>(|at| at as u8);
        let mut sums = std::collections::BTreeSet::from([checksum(&frame)]);
        for at in 4..FRAME {
            for bit in 0..8 {
                let mut damaged = frame;
                damaged[at] ^= 1 << bit;
                assert!(sums.insert(checksum(&damaged)), "byte {at}, bit {bit}");
                damaged[at..].fill(0);
                assert_ne!(checksum(&damaged), checksum(&frame), "torn at {at}");
            }
        }
    }
}
