//! Taking the usage chunk out of a stream whose client did not ask for it.

use crate::json::{Kind, Scanner};
use crate::sse::{Boundary, Event};
use bytes::{Bytes, BytesMut};
use memchr::memmem::Finder;
use std::fmt;
use std::sync::LazyLock;

/// Built once: that costs as much as looking through an event.
static USAGE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(br#""usage""#));

/// What an event begins with.
const FIELDS: [&[u8]; 5] = [b"data:", b"event:", b"id:", b"retry:", b":"];

/// An event longer than this is passed on unseen.
pub const HOLD_MAX_BYTES: usize = 64 << 10;

/// Passes a stream on, less the chunks that carry usage and nothing else (`choices: []`). Complete
/// events leave with the call that brought their end; of an incomplete one at most
/// [`HOLD_MAX_BYTES`] are held back. What passes is slices of what came, where it was not held.
#[derive(Default)]
pub struct UsageStripper {
    boundary: Boundary,
    held: BytesMut,
    /// The event under way was too long to hold: its rest passes.
    passing: bool,
    dropped: u64,
}

impl UsageStripper {
    /// Takes the next piece of the stream; `pass` gets what goes on to the client.
    pub fn feed(&mut self, chunk: Bytes, mut pass: impl FnMut(Bytes)) {
        let mut chunk = chunk;
        let mut clean = 0;
        while let Some(end) = self.boundary.find(&chunk[clean..]) {
            let end = clean + end;
            if !self.held.is_empty() {
                self.held.extend_from_slice(&chunk[..end]);
                let event = self.held.split().freeze();
                self.judge(event, &mut pass);
                chunk = chunk.split_off(end);
                clean = 0;
            } else if !std::mem::take(&mut self.passing) && usage_only(&chunk[clean..end]) {
                self.dropped += 1;
                let before = chunk.split_to(clean);
                some(before, &mut pass);
                chunk = chunk.split_off(end - clean);
                clean = 0;
            } else {
                clean = end;
            }
        }
        let tail = chunk.split_off(clean);
        some(chunk, &mut pass);
        self.hold(tail, &mut pass);
    }

    /// Ends the stream: what was held back passes, unless it is a usage chunk without its last line
    /// ends.
    pub fn finish(&mut self, mut pass: impl FnMut(Bytes)) {
        let event = self.held.split().freeze();
        self.judge(event, &mut pass);
    }

    /// Ends a stream that broke off. Half an event is worth nothing, and nothing could be said behind it: it is left out. What
    /// is no event passes.
    pub fn finish_cut(&mut self, mut pass: impl FnMut(Bytes)) {
        let half = self.held.split().freeze();
        if !FIELDS.iter().any(|field| half.starts_with(field)) {
            some(half, &mut pass);
        }
    }

    /// How many chunks were taken out.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    fn hold(&mut self, tail: Bytes, pass: &mut impl FnMut(Bytes)) {
        if self.passing {
            return some(tail, pass);
        }
        if self.held.len() + tail.len() > HOLD_MAX_BYTES {
            self.passing = true;
            some(self.held.split().freeze(), pass);
            return some(tail, pass);
        }
        self.held.extend_from_slice(&tail);
    }

    fn judge(&mut self, event: Bytes, pass: &mut impl FnMut(Bytes)) {
        if usage_only(&event) {
            self.dropped += 1;
        } else {
            some(event, pass);
        }
    }
}

impl fmt::Debug for UsageStripper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UsageStripper").field("held", &self.held.len()).field("dropped", &self.dropped).finish()
    }
}

fn some(bytes: Bytes, pass: &mut impl FnMut(Bytes)) {
    if !bytes.is_empty() {
        pass(bytes);
    }
}

/// Whether an event is a chunk with `choices: []` and an object as `usage`, and no error.
fn usage_only(event: &[u8]) -> bool {
    // Nearly every event is cleared by a look: it has no usage, or `"usage":null`.
    let Some(usage) = USAGE.find(event) else { return false };
    let behind = &event[usage + br#""usage""#.len()..];
    let value = behind.iter().find(|byte| !matches!(byte, b' ' | b':' | b'\t' | b'\n' | b'\r'));
    let null = value == Some(&b'n') && USAGE.find(behind).is_none();
    if null || event.len() > HOLD_MAX_BYTES {
        return false;
    }
    Event(event).read().1.is_some_and(|data| scan_usage_only(&data).unwrap_or(false))
}

fn scan_usage_only(data: &[u8]) -> Option<bool> {
    let mut scanner = Scanner::new(data);
    let (mut no_choices, mut usage) = (false, false);
    scanner.enter_object().ok()?;
    while let Some(key) = scanner.next_member().ok()? {
        let kind = scanner.peek().ok()?;
        if key.is("choices") {
            no_choices = kind == Kind::Array && {
                let mut inside = scanner.clone();
                inside.enter_array().ok()?;
                !inside.next_item().ok()?
            };
        } else if key.is("usage") {
            usage = kind == Kind::Object;
        } else if key.is("error") && kind != Kind::Null {
            return Some(false);
        }
        scanner.skip().ok()?;
    }
    scanner.end().ok()?;
    Some(no_choices && usage)
}
