//! What the next response of a session is taken to read, for a turn whose provider does not tell: what the last one told, and
//! what has come to it since. Sound is reckoned by its time, which the settings of the session tell from its bytes.

use super::Happened;
use crate::json::{self, Scanner};
use crate::usage::{Usage, estimate};

/// Sound that is heard is a token for so many milliseconds,
pub(super) const HEARD_MS_PER_TOKEN: u64 = 100;
/// and sound that is spoken for so many.
const SPOKEN_MS_PER_TOKEN: u64 = 50;

/// Bytes of a millisecond of sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rate(u64);

impl Default for Rate {
    /// 24,000 samples a second of two bytes each.
    fn default() -> Self {
        Self(48)
    }
}

impl Rate {
    /// That of this side of a session's settings, `input` or `output`: in `audio`, or by the names of the beta.
    pub(crate) fn of(session: &[u8], side: &str) -> Option<Self> {
        let format =
            json::member(session, "audio").and_then(|audio| json::member(json::member(audio, side)?, "format"));
        let format = format.or_else(|| json::member(session, &format!("{side}_audio_format")))?;
        let name = if format.starts_with(b"{") { json::member(format, "type")? } else { format };
        let name = json::text(name)?;
        // telephones: 8,000 samples a second of one byte each
        let is_of_telephones = ["audio/pcmu", "audio/pcma", "g711_ulaw", "g711_alaw"].contains(&name.as_ref());
        Some(if is_of_telephones { Self(8) } else { Self::default() })
    }

    /// How long as many bytes of base64 last.
    fn ms(self, encoded_bytes: u64) -> u64 {
        encoded_bytes / 4 * 3 / self.0
    }

    /// Tokens that are written where as many bytes of base64 are spoken.
    pub(crate) fn spoken_tokens(self, encoded_bytes: u64) -> u64 {
        self.ms(encoded_bytes) / SPOKEN_MS_PER_TOKEN
    }
}

/// Tokens that nobody has counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reckoned {
    /// All of them.
    pub tokens: u64,
    /// Of these, those of sound.
    pub sound_tokens: u64,
}

/// Keeps account of one session.
#[derive(Debug, Default)]
pub struct Reckoning {
    /// By the latest settings.
    settings_tokens: u64,
    /// Of the conversation.
    said: Reckoned,
    rate: Rate,
    /// Sound that was sent and is no part of the conversation yet, in bytes of base64.
    waiting_bytes: u64,
    /// Where the provider hears who speaks: since when somebody does, and for how long somebody has.
    speaks_since_ms: Option<u64>,
    spoken_ms: Option<u64>,
}

impl Reckoning {
    /// The client sends sound, of so many bytes of base64.
    pub fn sound(&mut self, encoded_bytes: usize) {
        self.waiting_bytes = self.waiting_bytes.saturating_add(encoded_bytes as u64);
    }

    /// The client sends any other event that asks for nothing.
    pub fn of_client(&mut self, event: &[u8]) {
        match json::member(event, "type") {
            Some(br#""conversation.item.create""#) => {
                let item = json::member(event, "item").unwrap_or_default();
                self.said.tokens = self.said.tokens.saturating_add(estimate(item));
            }
            Some(br#""input_audio_buffer.clear""#) => (self.waiting_bytes, self.spoken_ms) = (0, None),
            _ => {}
        }
    }

    /// The provider's event says this.
    pub fn of_provider(&mut self, what: Happened, event: &[u8]) {
        let at = |name| json::member(event, name).and_then(|value| Scanner::new(value).count().ok()?);
        match what {
            Happened::Session => self.settings(json::member(event, "session").unwrap_or_default()),
            Happened::Speaks => self.speaks_since_ms = at("audio_start_ms"),
            Happened::Heard => {
                if let (Some(since), Some(until)) = (self.speaks_since_ms.take(), at("audio_end_ms")) {
                    self.spoken_ms = Some(self.spoken_ms.unwrap_or(0).saturating_add(until.saturating_sub(since)));
                }
            }
            Happened::Said => {
                let sent_ms = self.rate.ms(std::mem::take(&mut self.waiting_bytes));
                let tokens = self.spoken_ms.take().unwrap_or(sent_ms) / HEARD_MS_PER_TOKEN;
                self.said.tokens = self.said.tokens.saturating_add(tokens);
                self.said.sound_tokens = self.said.sound_tokens.saturating_add(tokens);
            }
            Happened::Item => {
                let item = json::member(event, "item").unwrap_or_default();
                self.said.tokens = self.said.tokens.saturating_add(estimate(item));
            }
            Happened::Over | Happened::Interrupted => self.told(event),
            Happened::Transcribed
            | Happened::Begun
            | Happened::Part
            | Happened::Refused
            | Happened::Failed
            | Happened::Other => {}
        }
    }

    /// What a response that is asked for now reads.
    #[must_use]
    pub fn next(&self) -> Reckoned {
        Reckoned { tokens: self.settings_tokens.saturating_add(self.said.tokens), ..self.said }
    }

    fn settings(&mut self, session: &[u8]) {
        self.rate = Rate::of(session, "input").unwrap_or(self.rate);
        let said = ["instructions", "tools"].map(|name| json::member(session, name).unwrap_or_default());
        self.settings_tokens = said.into_iter().map(estimate).sum();
    }

    /// A response is over: it has read and written all that the next one reads, but for what comes now.
    fn told(&mut self, event: &[u8]) {
        let usage = json::member(event, "response").and_then(|response| json::member(response, "usage"));
        let usage = usage.and_then(|usage| Usage::scan_realtime(&mut Scanner::new(usage)).ok()?);
        let Some(Usage { input_tokens: Some(read), output_tokens: Some(written), input_media, output_media, .. }) =
            usage
        else {
            return;
        };
        let conversation = read.saturating_add(written).saturating_sub(self.settings_tokens);
        let sound = input_media.audio_tokens.saturating_add(output_media.audio_tokens);
        self.said = Reckoned { tokens: conversation, sound_tokens: sound.min(conversation) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::realtime::{Asks, ClientEvent, ServerEvent};
    use serde_json::{Value, json};

    fn provider(reckoning: &mut Reckoning, event: &Value) {
        let text = event.to_string();
        reckoning.of_provider(ServerEvent::read(text.as_bytes()).unwrap().what, text.as_bytes());
    }

    fn client(reckoning: &mut Reckoning, event: &Value) {
        let text = event.to_string();
        match ClientEvent::read(text.as_bytes()).unwrap().asks {
            Asks::Hear(bytes) => reckoning.sound(bytes),
            Asks::Other => reckoning.of_client(text.as_bytes()),
            Asks::Settings(_) | Asks::Response => panic!("{event}"),
        }
    }

    /// A second of it, of so many bytes.
    fn second(bytes: usize) -> Value {
        json!({"type": "input_audio_buffer.append", "audio": "A".repeat(bytes / 3 * 4)})
    }

    fn reckoned(tokens: u64, sound_tokens: u64) -> Reckoned {
        Reckoned { tokens, sound_tokens }
    }

    #[test]
    fn what_is_sent_is_reckoned_by_its_time_once_it_is_part_of_the_conversation() {
        let mut reckoning = Reckoning::default();
        let committed = json!({"type": "input_audio_buffer.committed"});
        client(&mut reckoning, &second(48_000));
        assert_eq!(reckoning.next(), reckoned(0, 0), "it may be thrown away yet");
        client(&mut reckoning, &json!({"type": "input_audio_buffer.clear"}));
        client(&mut reckoning, &second(48_000));
        provider(&mut reckoning, &committed);
        assert_eq!(reckoning.next(), reckoned(10, 10));
        for settings in [
            json!({"audio": {"input": {"format": {"type": "audio/pcmu"}}}}),
            json!({"input_audio_format": "g711_alaw"}),
        ] {
            let before = reckoning.next().tokens;
            provider(&mut reckoning, &json!({"type": "session.updated", "session": settings}));
            client(&mut reckoning, &second(8_001));
            provider(&mut reckoning, &committed);
            assert_eq!(reckoning.next().tokens - before, 10, "{settings}");
        }
    }

    #[test]
    fn silence_is_not_heard_where_the_provider_tells_who_speaks() {
        let mut reckoning = Reckoning::default();
        for _ in 0..60 {
            client(&mut reckoning, &second(48_000));
        }
        provider(&mut reckoning, &json!({"type": "input_audio_buffer.speech_started", "audio_start_ms": 51_000}));
        provider(&mut reckoning, &json!({"type": "input_audio_buffer.speech_stopped", "audio_end_ms": 53_000}));
        provider(&mut reckoning, &json!({"type": "input_audio_buffer.committed"}));
        assert_eq!(reckoning.next(), reckoned(20, 20));
        client(&mut reckoning, &second(48_000));
        provider(&mut reckoning, &json!({"type": "input_audio_buffer.committed"}));
        assert_eq!(reckoning.next(), reckoned(30, 30), "and what nobody listened to is what was sent");
    }

    #[test]
    fn a_report_is_what_the_next_response_reads_besides_what_comes_then() {
        let mut reckoning = Reckoning::default();
        let settings = json!({"instructions": "x".repeat(398), "tools": []});
        provider(&mut reckoning, &json!({"type": "session.updated", "session": settings}));
        client(&mut reckoning, &json!({"type": "conversation.item.create", "item": {"content": "y".repeat(386)}}));
        assert_eq!(reckoning.next(), reckoned(200, 0));
        let usage = json!({"input_tokens": 500, "output_tokens": 60, "input_token_details": {"audio_tokens": 300},
            "output_token_details": {"audio_tokens": 40}});
        provider(&mut reckoning, &json!({"type": "response.output_item.done", "item": {"content": "z".repeat(4_000)}}));
        for status in ["completed", "cancelled"] {
            let done = json!({"type": "response.done", "response": {"id": "r", "status": status, "usage": usage}});
            provider(&mut reckoning, &done);
            assert_eq!(reckoning.next(), reckoned(560, 340), "{status}");
        }
        provider(&mut reckoning, &json!({"type": "response.done", "response": {"id": "r", "usage": null}}));
        assert_eq!(reckoning.next(), reckoned(560, 340), "who tells nothing changes nothing");
        provider(&mut reckoning, &json!({"type": "session.updated", "session": {"instructions": "", "tools": []}}));
        assert_eq!(reckoning.next(), reckoned(460, 340), "shorter settings");
    }
}
