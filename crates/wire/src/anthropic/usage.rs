//! Tokens as messages tell them: at the start of a stream, and again at its end, where each number is
//! the whole so far. So the larger of two counts is the one that holds, and none is added to another.

use crate::json::{Kind, ScanError, Scanner};
use crate::usage::Usage;

/// What has been told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Told {
    /// Read afresh: neither from the cache nor into it.
    pub(crate) input: Option<u64>,
    pub(crate) output: Option<u64>,
    /// Of those that were written, those of thoughts.
    pub(crate) thinking: Option<u64>,
    pub(crate) cache_read: Option<u64>,
    pub(crate) cache_written: Option<u64>,
    pub(crate) cache_written_1h: Option<u64>,
}

impl Told {
    /// Reads the value of `usage`, the scanner standing before it.
    pub(crate) fn scan(&mut self, scanner: &mut Scanner<'_>) -> Result<(), ScanError> {
        if scanner.peek()? != Kind::Object {
            return scanner.skip().map(|_| ());
        }
        scanner.enter_object()?;
        while let Some(key) = scanner.next_member()? {
            let slot = match key.raw {
                b"input_tokens" => &mut self.input,
                b"output_tokens" => &mut self.output,
                b"cache_read_input_tokens" => &mut self.cache_read,
                b"cache_creation_input_tokens" => &mut self.cache_written,
                b"cache_creation" if scanner.peek()? == Kind::Object => {
                    self.cache_written_1h = self.cache_written_1h.max(inner(scanner, "ephemeral_1h_input_tokens")?);
                    continue;
                }
                b"output_tokens_details" if scanner.peek()? == Kind::Object => {
                    self.thinking = self.thinking.max(inner(scanner, "thinking_tokens")?);
                    continue;
                }
                _ => {
                    scanner.skip()?;
                    continue;
                }
            };
            let count = scanner.count()?;
            *slot = (*slot).max(count);
        }
        Ok(())
    }

    /// In the words of both dialects; `None` where nothing was told.
    pub(crate) fn usage(&self) -> Option<Usage> {
        if *self == Self::default() {
            return None;
        }
        let beside = self.cache_read.unwrap_or(0).saturating_add(self.cache_written.unwrap_or(0));
        Some(Usage {
            input_tokens: self.input.map(|fresh| fresh.saturating_add(beside)),
            output_tokens: self.output,
            cached_tokens: self.cache_read,
            reasoning_tokens: self.thinking,
            cache_written_tokens: self.cache_written,
            cache_written_1h_tokens: self.cache_written_1h,
            ..Usage::default()
        })
    }
}

/// The count of this name in an object.
fn inner(scanner: &mut Scanner<'_>, name: &str) -> Result<Option<u64>, ScanError> {
    let mut found = None;
    scanner.enter_object()?;
    while let Some(key) = scanner.next_member()? {
        if key.is(name) {
            found = scanner.count()?;
        } else {
            scanner.skip()?;
        }
    }
    Ok(found)
}
