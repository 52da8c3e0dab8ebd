//! Putting tool calls together from the pieces of a stream.
//!
//! Pieces say by `index` which call they belong to, where the server follows OpenAI. Servers also leave
//! the index out, or give parallel calls the same one; then the id tells, and without an id a name that
//! comes when the arguments so far are complete begins a new call.

use super::answer::Shape;
use super::past::{EarlierCalls, call_key};
use crate::json::{self, Kind, ScanError, Scanner, Text, Unescape};
use crate::outcome::{ToolChecker, Validity};
use std::borrow::Cow;

/// Ids, names and arguments of all calls of a choice are kept up to this length together.
const KEPT_MAX_BYTES: usize = 256 << 10;
const CALLS_MAX: usize = 256;

/// The tool calls of one choice.
#[derive(Default)]
pub(crate) struct Calls {
    list: Vec<Call>,
    kept_bytes: usize,
    overflowed: bool,
}

#[derive(Default)]
struct Call {
    index: Option<u64>,
    id: String,
    name: String,
    arguments: String,
    unescape: Unescape,
}

/// One piece.
#[derive(Default)]
struct Piece<'a> {
    index: Option<u64>,
    id: Cow<'a, str>,
    name: Cow<'a, str>,
    arguments: Option<Text<'a>>,
    /// Arguments that a server wrote as JSON where a string is due.
    bare: Option<&'a [u8]>,
}

impl Calls {
    /// Reads the array `tool_calls`, the scanner standing before it; whether it brought anything.
    pub(super) fn read(&mut self, shape: Shape, scanner: &mut Scanner<'_>) -> Result<bool, ScanError> {
        let mut came = false;
        scanner.enter_array()?;
        while scanner.next_item()? {
            if scanner.peek()? != Kind::Object {
                scanner.skip()?;
                continue;
            }
            let mut piece = Piece::default();
            scanner.enter_object()?;
            while let Some(key) = scanner.next_member()? {
                let kind = scanner.peek()?;
                match (key.raw, kind) {
                    (b"index", _) => piece.index = scanner.count()?,
                    (b"id", Kind::String) => piece.id = scanner.string()?.decode(),
                    (b"function" | b"custom", Kind::Object) => piece.function(scanner)?,
                    _ => {
                        scanner.skip()?;
                    }
                }
            }
            self.add(shape, &piece);
            came |= piece.says_something();
        }
        Ok(came)
    }

    /// Reads the object `function_call` of old: one call without an id.
    pub(super) fn read_function(&mut self, scanner: &mut Scanner<'_>) -> Result<bool, ScanError> {
        let mut piece = Piece { index: Some(u64::MAX), ..Piece::default() };
        piece.function(scanner)?;
        self.add(Shape::Piece, &piece);
        Ok(true)
    }

    /// A call of messages begins: the block at `index`, whole where `input` is given.
    pub(crate) fn begin(&mut self, index: u64, id: &str, name: &str, input: Option<&[u8]>) {
        let piece = Piece {
            index: Some(index),
            id: Cow::Borrowed(id),
            name: Cow::Borrowed(name),
            arguments: None,
            bare: input,
        };
        self.add(Shape::Piece, &piece);
    }

    /// More of the arguments of the call at `index`; a block that is no call has none here.
    pub(crate) fn append(&mut self, index: u64, json: Text<'_>) {
        if self.knows(index) {
            self.add(Shape::Piece, &Piece { index: Some(index), arguments: Some(json), ..Piece::default() });
        }
    }

    /// Whether a call at `index` has begun.
    pub(crate) fn knows(&self, index: u64) -> bool {
        self.list.iter().any(|call| call.index == Some(index))
    }

    /// Whether the call at `index` has begun and nothing of its arguments has come.
    pub(crate) fn lacks_arguments(&self, index: u64) -> bool {
        self.list.iter().any(|call| call.index == Some(index) && call.arguments.is_empty())
    }

    /// Ends all calls, and puts them into the order of their indices, as client libraries do.
    pub(super) fn end(&mut self) {
        for call in &mut self.list {
            let Call { arguments, unescape, .. } = call;
            unescape.finish(|piece| arguments.push_str(piece));
        }
        if self.list.iter().all(|call| call.index.is_some()) {
            self.list.sort_by_key(|call| call.index);
        }
    }

    /// Length of what came of them.
    pub(super) fn bytes(&self) -> u64 {
        self.kept_bytes as u64
    }

    pub(crate) fn count(&self) -> u32 {
        u32::try_from(self.list.len()).unwrap_or(u32::MAX)
    }

    /// Whether all calls are valid. `whole`: the answer was seen to its end.
    pub(super) fn validity(&self, checker: Option<&ToolChecker>, whole: bool) -> Validity {
        match checker {
            Some(_) if self.list.is_empty() => Validity::NotChecked,
            Some(_) if self.overflowed || !whole => Validity::Unknown,
            Some(checker) => {
                let verdicts = self.list.iter().map(|call| checker.check(&call.name, &call.arguments));
                verdicts.fold(Validity::NotChecked, Validity::and)
            }
            None => Validity::NotChecked,
        }
    }

    /// Id, name and arguments of every call; `None` where not all of them were kept.
    pub(super) fn said(&self) -> Option<impl Iterator<Item = (&str, &str, &str)>> {
        let said = self.list.iter().map(|call| (call.id.as_str(), call.name.as_str(), call.arguments.as_str()));
        (!self.overflowed).then_some(said)
    }

    /// What the calls are known by that have an id.
    pub(super) fn keys(&self) -> impl Iterator<Item = u64> {
        self.list.iter().filter(|call| !call.id.is_empty()).map(|call| call_key(&call.id))
    }

    /// Whether a call is made that was made before, in this answer or earlier.
    pub(super) fn repeat(&self, earlier: &EarlierCalls) -> bool {
        self.list.iter().enumerate().any(|(place, call)| {
            let same = |other: &Call| other.name == call.name && other.arguments == call.arguments;
            earlier.has(&call.name, &call.arguments) || self.list.iter().take(place).any(same)
        })
    }

    fn add(&mut self, shape: Shape, piece: &Piece<'_>) {
        let place = if shape == Shape::Message { None } else { self.place(piece) };
        let length = piece.id.len() + piece.name.len() + piece.arguments.map_or(0, |text| text.raw.len());
        self.kept_bytes += length + piece.bare.map_or(0, <[u8]>::len);
        let full = place.is_none() && self.list.len() >= CALLS_MAX;
        if self.overflowed || full || self.kept_bytes > KEPT_MAX_BYTES {
            self.overflowed = true;
            return;
        }
        let place = place.unwrap_or(self.list.len());
        if place == self.list.len() {
            self.list.push(Call { index: piece.index, ..Call::default() });
        }
        if let Some(call) = self.list.get_mut(place) {
            call.add(piece);
        }
    }

    /// The call that a piece belongs to; `None` for a new one.
    fn place(&self, piece: &Piece<'_>) -> Option<usize> {
        let by_id = || self.list.iter().rposition(|call| call.id == piece.id);
        let place = match piece.index {
            Some(index) => self.list.iter().rposition(|call| call.index == Some(index))?,
            None if !piece.id.is_empty() => return by_id(),
            None => self.list.len().checked_sub(1)?,
        };
        let call = self.list.get(place)?;
        if !piece.id.is_empty() && !call.id.is_empty() {
            return if call.id == piece.id { Some(place) } else { by_id() };
        }
        let begins =
            piece.id.is_empty() && !piece.name.is_empty() && piece.arguments.is_some_and(|text| !text.raw.is_empty());
        let complete = || !call.name.is_empty() && json::check(call.arguments.as_bytes()).is_ok();
        if begins && complete() { None } else { Some(place) }
    }
}

impl<'a> Piece<'a> {
    /// An empty piece of arguments is a sign of life, and nothing else.
    fn says_something(&self) -> bool {
        let begins = !self.id.is_empty() || !self.name.is_empty() || self.bare.is_some();
        begins || self.arguments.is_some_and(|text| !text.raw.is_empty())
    }

    /// Reads the function that is called, or the custom tool.
    fn function(&mut self, scanner: &mut Scanner<'a>) -> Result<(), ScanError> {
        scanner.enter_object()?;
        while let Some(key) = scanner.next_member()? {
            let kind = scanner.peek()?;
            match (key.raw, kind) {
                (b"name", Kind::String) => self.name = scanner.string()?.decode(),
                (b"arguments" | b"input", Kind::String) => self.arguments = Some(scanner.string()?),
                (b"arguments", Kind::Object) => self.bare = Some(scanner.value()?),
                _ => {
                    scanner.skip()?;
                }
            }
        }
        Ok(())
    }
}

impl Call {
    fn add(&mut self, piece: &Piece<'_>) {
        if self.id.is_empty() {
            self.id.push_str(&piece.id);
        }
        // Servers either give the name once, or repeat it, or give it in pieces.
        if self.name != piece.name {
            self.name.push_str(&piece.name);
        }
        let Self { arguments, unescape, .. } = self;
        if let Some(text) = piece.arguments {
            unescape.feed(text, |piece| arguments.push_str(piece));
        }
        if let Some(bare) = piece.bare {
            arguments.push_str(&String::from_utf8_lossy(bare));
        }
    }
}
