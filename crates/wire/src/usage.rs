//! Tokens, as providers count them.

use crate::json::{Kind, ScanError, Scanner};

/// Bytes of a request, or of what is said, that are taken for one token where nobody has counted.
pub const BYTES_PER_TOKEN: u64 = 4;
/// What a picture, a sound or a file in a request is taken for.
const MEDIA_TOKENS: u64 = 1_500;
/// A request is looked at for such things in steps of this length.
const STRIDE_BYTES: usize = 4 << 10;
/// And at so many bytes in each, which in no text are all of the alphabet of base64.
const LOOK_BYTES: usize = 64;

/// Tokens that a request of this body is taken for where its provider does not tell: one for four bytes, but what stands in it in
/// base64 is taken for one picture, however large it is.
#[must_use]
pub fn estimate(body: &[u8]) -> u64 {
    let (mut bytes, mut media, mut within) = (body.len() as u64, 0, false);
    if body.len() >= 4 * STRIDE_BYTES {
        for step in body.chunks(STRIDE_BYTES) {
            let packed = step.len() >= LOOK_BYTES && step[..LOOK_BYTES].iter().all(|byte| is_of_base64(*byte));
            if packed {
                bytes -= step.len() as u64;
                media += u64::from(!within);
            }
            within = packed;
        }
    }
    bytes / BYTES_PER_TOKEN + media * MEDIA_TOKENS
}

fn is_of_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_' | b'=')
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_a_token_for_four_bytes_and_a_picture_is_one_whatever_its_size() {
        assert_eq!(estimate(b"{\"model\":\"m\"}"), 3);
        let text = "all of it is text, and long; ".repeat(2_000);
        assert_eq!(estimate(text.as_bytes()), text.len() as u64 / 4);
        let cjk = "日本語".repeat(20_000);
        assert_eq!(estimate(cjk.as_bytes()), cjk.len() as u64 / 4);
        let picture = |bytes: usize| format!("data:image/png;base64,{}\",", "iVBORw0KGgo+/".repeat(bytes / 13));
        let small = [&text, &*picture(40_000), &text].concat();
        let large = [&text, &*picture(9 << 20), &text].concat();
        let (small, large) = (estimate(small.as_bytes()), estimate(large.as_bytes()));
        let words = 2 * text.len() as u64 / 4;
        for of in [small, large] {
            assert!((words + 1_500..words + 1_500 + 2 * 1_024).contains(&of), "{of} of {words}");
        }
    }
}
