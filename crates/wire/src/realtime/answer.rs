//! Reading a response of a realtime session: its events go into the state that all dialects share.

use crate::json::{Kind, ScanError, Scanner, Text};
use crate::openai::answer::{Answer, name};
use crate::realtime::Rate;
use crate::responses::answer::{error_of, finish};
use crate::usage::Usage;

/// Ids of responses are kept up to this length.
const NAME_MAX_BYTES: usize = 1 << 10;

#[derive(Default)]
struct Event<'a> {
    kind: &'a [u8],
    index: u64,
    delta: Option<Text<'a>>,
    item: Option<&'a [u8]>,
    session: Option<&'a [u8]>,
    response: Response<'a>,
}

#[derive(Default)]
struct Response<'a> {
    id: Option<Text<'a>>,
    status: Option<Text<'a>>,
    reason: Option<Text<'a>>,
    error: Option<&'a [u8]>,
    usage: Option<&'a [u8]>,
}

impl Answer {
    /// Reads one event.
    pub(crate) fn realtime_event(&mut self, data: &[u8]) -> Result<(), ScanError> {
        let event = Event::read(data)?;
        match event.kind {
            b"session.created" | b"session.updated" => return self.session(event.session.unwrap_or(b"{}")),
            b"response.created" => {
                self.readable = true;
                self.only();
                if let Some(id) = event.response.id.filter(|id| (1..=NAME_MAX_BYTES).contains(&id.raw.len())) {
                    self.response_id = Some(id.decode().into_owned());
                }
            }
            b"response.output_audio.delta" | b"response.audio.delta" => {
                let length = event.delta.map_or(0, |sound| sound.raw.len() as u64);
                let choice = self.only();
                choice.sound |= length > 0;
                choice.sound_bytes += length;
                self.contents += u64::from(length > 0);
            }
            b"response.output_text.delta"
            | b"response.text.delta"
            | b"response.output_audio_transcript.delta"
            | b"response.audio_transcript.delta" => {
                let (choice, keep, conversation) = self.parts();
                let came = event.delta.is_some_and(|text| choice.text(text, keep, conversation));
                self.contents += u64::from(came);
            }
            b"response.function_call_arguments.delta" => {
                if let Some(text) = event.delta {
                    self.only().calls.append(event.index, text);
                    self.contents += u64::from(!text.raw.is_empty());
                }
            }
            b"response.output_item.added" => self.item_starts(event.index, event.item.unwrap_or(b"{}"))?,
            b"response.output_item.done" => self.item_ends(event.index, event.item.unwrap_or(b"{}"))?,
            b"response.done" => self.response_is_done(&event.response)?,
            b"error" => {
                self.error.get_or_insert_default();
            }
            _ => {}
        }
        Ok(())
    }

    /// The model that serves is told of the session alone, and how long what it speaks lasts.
    fn session(&mut self, session: &[u8]) -> Result<(), ScanError> {
        self.sound_rate = Rate::of(session, "output").unwrap_or(self.sound_rate);
        let mut scanner = Scanner::new(session);
        scanner.enter_object()?;
        while let Some(key) = scanner.next_member()? {
            if key.is("model") {
                self.model = None;
                name(&mut scanner, &mut self.model)?;
            } else {
                scanner.skip()?;
            }
        }
        Ok(())
    }

    fn response_is_done(&mut self, response: &Response<'_>) -> Result<(), ScanError> {
        self.readable = true;
        self.done = true;
        if let Some(usage) = response.usage {
            self.usage = Usage::scan_realtime(&mut Scanner::new(usage))?.or(self.usage);
        }
        let status = response.status.map_or(&b""[..], |status| status.raw);
        if status == b"failed" {
            self.error = Some(error_of(response.error.unwrap_or(b"{}"))?);
        }
        let choice = self.only();
        choice.finish = Some(finish(status, response.reason, choice.calls.count() > 0));
        Ok(())
    }
}

impl<'a> Event<'a> {
    fn read(data: &'a [u8]) -> Result<Self, ScanError> {
        let mut event = Self::default();
        let mut scanner = Scanner::new(data);
        scanner.enter_object()?;
        while let Some(key) = scanner.next_member()? {
            match key.raw {
                b"type" => event.kind = scanner.string_or_skip()?.map_or(&b""[..], |kind| kind.raw),
                b"output_index" => event.index = scanner.count()?.unwrap_or(0),
                b"delta" => event.delta = scanner.string_or_skip()?,
                b"item" => event.item = Some(scanner.value()?),
                b"session" => event.session = Some(scanner.value()?).filter(|session| session.starts_with(b"{")),
                b"response" if scanner.peek()? == Kind::Object => event.response = Response::read(&mut scanner)?,
                _ => {
                    scanner.skip()?;
                }
            }
        }
        scanner.end()?;
        Ok(event)
    }
}

impl<'a> Response<'a> {
    fn read(scanner: &mut Scanner<'a>) -> Result<Self, ScanError> {
        let mut response = Self::default();
        scanner.enter_object()?;
        while let Some(key) = scanner.next_member()? {
            match key.raw {
                b"id" => response.id = scanner.string_or_skip()?,
                b"status" => response.status = scanner.string_or_skip()?,
                b"usage" => response.usage = Some(scanner.value()?),
                b"status_details" if scanner.peek()? == Kind::Object => response.details(scanner)?,
                _ => {
                    scanner.skip()?;
                }
            }
        }
        Ok(response)
    }

    fn details(&mut self, scanner: &mut Scanner<'a>) -> Result<(), ScanError> {
        scanner.enter_object()?;
        while let Some(key) = scanner.next_member()? {
            match key.raw {
                b"reason" => self.reason = scanner.string_or_skip()?,
                b"error" => self.error = Some(scanner.value()?),
                _ => {
                    scanner.skip()?;
                }
            }
        }
        Ok(())
    }
}
