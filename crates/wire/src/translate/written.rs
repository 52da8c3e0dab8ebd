//! What is written of a request. The data of pictures is long, and is the same in both dialects: it is not copied from one
//! paper to the next, but noted with its place, and goes in when the whole is written for good.

use crate::dialect::Dialect;
use crate::openai::{AskUsage, ChatRequest, Patch};
use std::fmt;

/// A request in the other dialect, as far as it is new.
#[derive(Clone, Default)]
pub struct Written<'a> {
    pub(super) text: Vec<u8>,
    data: Vec<Laid<'a>>,
    /// Of the blocks of its prompt, so many are the client's first system message: it is what a version's prompt meets, and
    /// what the client's further ones say stays, as it does where nothing is translated. `None`: all of it is one.
    pub(super) prompt_blocks: Option<usize>,
}

/// What a patch has to know of what was written.
#[derive(Clone, Copy, Default)]
pub(crate) struct Around<'a> {
    /// As in [`Written`].
    pub(crate) prompt_blocks: Option<usize>,
    /// What is laid in.
    pub(crate) laid: &'a [Laid<'a>],
}

/// Bytes of the client's own body that go in as they are.
#[derive(Clone, Copy)]
pub(crate) struct Laid<'a> {
    /// Before this byte of the text.
    pub(crate) at: usize,
    pub(crate) data: &'a [u8],
}

impl<'a> Written<'a> {
    /// Writes pieces one behind the other.
    pub(super) fn put(&mut self, pieces: &[&[u8]]) {
        super::put(&mut self.text, pieces);
    }

    /// Lays in what is not copied.
    pub(super) fn lay(&mut self, data: &'a [u8]) {
        self.data.push(Laid { at: self.text.len(), data });
    }

    /// Writes another one behind it.
    pub(super) fn add(&mut self, other: &Self) {
        let before = self.text.len();
        self.text.extend_from_slice(&other.text);
        self.data.extend(other.data.iter().map(|laid| Laid { at: before + laid.at, ..*laid }));
    }

    /// All of them, a comma between.
    pub(super) fn list(items: &[Self]) -> Self {
        let room = items.iter().map(|item| item.text.len() + 1).sum();
        let mut list = Self { text: Vec::with_capacity(room), ..Self::default() };
        for (place, item) in items.iter().enumerate() {
            if place > 0 {
                list.text.push(b',');
            }
            list.add(item);
        }
        list
    }

    /// The body, a version put into it: in one copy of its exact size.
    #[must_use]
    pub fn patched(&self, dialect: Dialect, patch: &Patch, usage: AskUsage) -> Vec<u8> {
        let around = Around { prompt_blocks: self.prompt_blocks, laid: &self.data };
        let patched = match ChatRequest::read_as(dialect, &self.text) {
            Ok(read) => patch.apply_around(&read, usage, around),
            // What was just written is a request.
            Err(_) => None,
        };
        patched.unwrap_or_else(|| self.whole())
    }

    /// The body by itself.
    #[must_use]
    pub fn whole(&self) -> Vec<u8> {
        let laid: usize = self.data.iter().map(|laid| laid.data.len()).sum();
        let mut out = Vec::with_capacity(self.text.len() + laid);
        let mut from = 0;
        for Laid { at, data } in &self.data {
            super::put(&mut out, &[&self.text[from..*at], data]);
            from = *at;
        }
        out.extend_from_slice(&self.text[from..]);
        out
    }
}

impl From<Vec<u8>> for Written<'_> {
    fn from(text: Vec<u8>) -> Self {
        Self { text, ..Self::default() }
    }
}

// What is written is what was asked, which is not shown.
impl fmt::Debug for Written<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Written").field("bytes", &self.text.len()).field("laid", &self.data.len()).finish()
    }
}
