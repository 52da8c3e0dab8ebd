//! Tokens, as providers count them.

use crate::json::{Kind, ScanError, Scanner};

/// Tokens of one request. What a provider does not tell is `None`, never 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens read, those from the provider's cache among them.
    pub input_tokens: Option<u64>,
    /// Tokens written, those of hidden reasoning among them.
    pub output_tokens: Option<u64>,
    /// Of the tokens read, those from the provider's cache.
    pub cached_tokens: Option<u64>,
    /// Of the tokens written, those of hidden reasoning.
    pub reasoning_tokens: Option<u64>,
    /// Of the tokens read, those written into the provider's cache at a price of their own.
    pub cache_written_tokens: Option<u64>,
    /// Of these, those that are kept for an hour.
    pub cache_written_1h_tokens: Option<u64>,
    /// Of the tokens read, those of sound and of pictures, where they are told apart.
    pub input_media: Media,
    /// Of the tokens written, the same.
    pub output_media: Media,
}

/// Tokens that are no text; what is not told is part of the text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Media {
    /// Of sound.
    pub audio_tokens: u64,
    /// Of pictures.
    pub image_tokens: u64,
}

impl Usage {
    /// Reads the value of `usage` in OpenAI's form, the scanner standing before it. `None` where it is
    /// no object, or counts nothing.
    pub(crate) fn scan(scanner: &mut Scanner<'_>) -> Result<Option<Self>, ScanError> {
        Self::named(
            scanner,
            ["prompt_tokens", "completion_tokens", "prompt_tokens_details", "completion_tokens_details"],
        )
    }

    /// The same in the form of responses.
    pub(crate) fn scan_responses(scanner: &mut Scanner<'_>) -> Result<Option<Self>, ScanError> {
        Self::named(scanner, ["input_tokens", "output_tokens", "input_tokens_details", "output_tokens_details"])
    }

    /// The same in the form of realtime sessions.
    pub(crate) fn scan_realtime(scanner: &mut Scanner<'_>) -> Result<Option<Self>, ScanError> {
        Self::named(scanner, ["input_tokens", "output_tokens", "input_token_details", "output_token_details"])
    }

    #[inline]
    fn named(scanner: &mut Scanner<'_>, names: [&'static str; 4]) -> Result<Option<Self>, ScanError> {
        let [input, output, input_details, output_details] = names;
        if scanner.peek()? != Kind::Object {
            scanner.skip()?;
            return Ok(None);
        }
        let mut usage = Self::default();
        let mut cache_hits = None;
        scanner.enter_object()?;
        while let Some(key) = scanner.next_member()? {
            if key.is(input) {
                usage.input_tokens = scanner.count()?;
            } else if key.is(output) {
                usage.output_tokens = scanner.count()?;
            } else if key.is(input_details) {
                (usage.cached_tokens, usage.input_media) = details(scanner, "cached_tokens")?;
            } else if key.is(output_details) {
                (usage.reasoning_tokens, usage.output_media) = details(scanner, "reasoning_tokens")?;
            } else if key.is("prompt_cache_hit_tokens") {
                cache_hits = scanner.count()?;
            } else {
                scanner.skip()?;
            }
        }
        usage.cached_tokens = usage.cached_tokens.or(cache_hits);
        Ok(Some(usage).filter(|usage| *usage != Self::default()))
    }
}

/// The count of this name, and those of sound and pictures.
fn details(scanner: &mut Scanner<'_>, name: &str) -> Result<(Option<u64>, Media), ScanError> {
    let (mut found, mut media) = (None, Media::default());
    if scanner.peek()? != Kind::Object {
        scanner.skip()?;
        return Ok((None, media));
    }
    scanner.enter_object()?;
    while let Some(key) = scanner.next_member()? {
        if key.is(name) {
            found = scanner.count()?;
        } else if key.is("audio_tokens") {
            media.audio_tokens = scanner.count()?.unwrap_or(0);
        } else if key.is("image_tokens") {
            media.image_tokens = scanner.count()?.unwrap_or(0);
        } else {
            scanner.skip()?;
        }
    }
    Ok((found, media))
}
