//! What it takes to write down what somebody has said, beside the responses of a session: another model does it, at a price of
//! its own.

use super::reckoning::HEARD_MS_PER_TOKEN;
use crate::json::{self, Scanner};
use crate::usage::{Media, Usage};

/// What a transcript used, by the event that it is whole; `None` where that says nothing of it. Some models count tokens; of those
/// that count time, a token is so long as of any sound that is heard.
#[must_use]
pub fn transcribed(event: &[u8]) -> Option<Usage> {
    let usage = json::member(event, "usage")?;
    if let Some(usage) = Usage::scan_realtime(&mut Scanner::new(usage)).ok()? {
        return Some(usage);
    }
    let seconds: f64 = std::str::from_utf8(json::member(usage, "seconds")?).ok()?.parse().ok()?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "of a time; what is none saturates")]
    let tokens = (seconds * 1e3) as u64 / HEARD_MS_PER_TOKEN;
    let input_media = Media { audio_tokens: tokens, ..Media::default() };
    Some(Usage { input_tokens: Some(tokens), output_tokens: Some(0), input_media, ..Usage::default() })
}

/// The model that writes down what is said, by an event with the settings of its session: in `audio`, or by the name of the beta.
#[must_use]
pub fn transcriber(settings: &[u8]) -> Option<String> {
    let session = json::member(settings, "session")?;
    let input = json::member(session, "audio").and_then(|audio| json::member(audio, "input"));
    let transcription = input.and_then(|input| json::member(input, "transcription"));
    let transcription = transcription.or_else(|| json::member(session, "input_audio_transcription"))?;
    Some(json::text(json::member(transcription, "model")?)?.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::realtime::{Happened, ServerEvent};

    /// As the provider sends it.
    const BY_TOKENS: &str = r#"{"type":"conversation.item.input_audio_transcription.completed","event_id":"event_CCXGRvtUVrax5SJAnNOWZ",
        "item_id":"item_CCXGQ4e1ht4cOraEYcuR2","content_index":0,"transcript":"Hey, can you hear me?",
        "usage":{"type":"tokens","total_tokens":22,"input_tokens":13,"input_token_details":{"text_tokens":3,"audio_tokens":10},"output_tokens":9}}"#;
    const BY_TIME: &str = r#"{"type":"conversation.item.input_audio_transcription.completed","event_id":"event_1","item_id":"item_1",
        "content_index":0,"transcript":"Hey.","usage":{"type":"duration","seconds":2.58}}"#;

    #[test]
    fn a_transcript_says_what_it_used_in_tokens_or_in_time() {
        for event in [BY_TOKENS, BY_TIME] {
            assert_eq!(ServerEvent::read(event.as_bytes()).unwrap().what, Happened::Transcribed);
        }
        let sound = |audio_tokens| Media { audio_tokens, ..Media::default() };
        let usage = |input, output, audio| Usage {
            input_tokens: Some(input),
            output_tokens: Some(output),
            input_media: sound(audio),
            ..Usage::default()
        };
        assert_eq!(transcribed(BY_TOKENS.as_bytes()), Some(usage(13, 9, 10)));
        assert_eq!(transcribed(BY_TIME.as_bytes()), Some(usage(25, 0, 25)));
        let silent =
            [r#"{"transcript":"x"}"#, r#"{"usage":null}"#, r#"{"usage":{"type":"x"}}"#, r#"{"usage":{"seconds":"x"}}"#];
        assert_eq!(silent.map(|event| transcribed(event.as_bytes())), [None; 4]);
        assert_eq!(transcribed(br#"{"usage":{"seconds":-3}}"#), Some(usage(0, 0, 0)));
    }

    #[test]
    fn the_settings_name_who_writes() {
        let of = |session: &str| transcriber(format!(r#"{{"type":"session.updated","session":{session}}}"#).as_bytes());
        let now = r#"{"audio":{"input":{"transcription":{"model":"gpt-4o-transcribe","language":"en"}}}}"#;
        assert_eq!(of(now).as_deref(), Some("gpt-4o-transcribe"));
        assert_eq!(of(r#"{"input_audio_transcription":{"model":"whisper-1"}}"#).as_deref(), Some("whisper-1"));
        assert_eq!(of(r#"{"audio":{"input":{"transcription":null}}}"#), None);
    }
}
