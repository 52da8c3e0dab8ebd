//! Reading an answer of responses: events of a stream, or one body. What is found goes into the state that
//! all dialects share; an answer of responses is one choice.

use super::parts::{Event, Item, Response};
use crate::anthropic::answer::is_ping;
use crate::json::{Kind, ScanError, Scanner, Text};
use crate::openai::answer::{Answer, Unseen, name};
use crate::openai::{Finish, InBandError};
use crate::usage::Usage;

/// Ids and names of a response are kept up to this length; a longer one is not known.
const NAME_MAX_BYTES: usize = 1 << 10;

impl Answer {
    /// Reads the data of one event.
    pub(crate) fn response_event(&mut self, data: &[u8]) -> Result<(), ScanError> {
        let event = Event::read(data)?;
        self.next_number = event.number.map_or(self.next_number, |number| number.saturating_add(1));
        let kind = event.kind.map_or(&b""[..], |kind| kind.raw);
        self.stepped |= match kind {
            // said again and again while nothing happens
            b"response.queued" | b"response.in_progress" => !self.readable,
            _ => !kind.ends_with(b".delta") && !is_ping(kind),
        };
        match kind {
            b"response.output_text.delta" => {
                let (choice, keep, conversation) = self.parts();
                let came = event.delta.is_some_and(|text| choice.text(text, keep, conversation));
                self.contents += u64::from(came);
            }
            b"response.refusal.delta" => {
                let came = event.delta.is_some_and(|text| !text.raw.is_empty());
                self.only().refused |= came;
                self.contents += u64::from(came);
            }
            b"response.function_call_arguments.delta" | b"response.custom_tool_call_input.delta" => {
                if let Some(text) = event.delta {
                    self.only().calls.append(event.index, text);
                    self.contents += u64::from(!text.raw.is_empty());
                }
            }
            b"response.output_item.added" => self.item_starts(event.index, event.item.unwrap_or(b"{}"))?,
            b"response.output_item.done" => {
                self.unseen = Unseen::No;
                self.item_ends(event.index, event.item.unwrap_or(b"{}"))?;
            }
            b"response.created" | b"response.queued" | b"response.in_progress" => {
                self.head(&Response::read(event.response.unwrap_or(b"{}"))?)?;
            }
            b"response.completed" | b"response.incomplete" | b"response.failed" | b"response.cancelled" => {
                self.response_ends(kind, event.response.unwrap_or(b"{}"))?;
            }
            b"error" => {
                let code = event.code.map(|code| code.decode().into_owned());
                self.error.get_or_insert(InBandError { kind: None, code });
            }
            // Reasoning, or what a tool of the provider's own writes: a person may see it.
            _ if kind.ends_with(b".delta") => {
                self.contents += u64::from(event.delta.is_some_and(|text| self.only().thinks(text)));
            }
            _ => {}
        }
        Ok(())
    }

    /// Reads a body that is no stream: a response, or an error.
    pub(crate) fn response_body(&mut self, body: &[u8]) -> Result<(), ScanError> {
        let response = Response::read(body)?;
        if !response.is_response {
            if let Some(error) = response.error {
                self.response_error(error)?;
            }
            return Ok(());
        }
        self.head(&response)?;
        self.output(&response)?;
        self.ended(&response)
    }

    /// What every response says of itself.
    fn head(&mut self, response: &Response<'_>) -> Result<(), ScanError> {
        self.readable = true;
        self.only();
        for (text, into) in [(response.model, &mut self.model), (response.id, &mut self.response_id)] {
            let text = text.filter(|text| into.is_none() && (1..=NAME_MAX_BYTES).contains(&text.raw.len()));
            if let Some(text) = text {
                *into = Some(text.decode().into_owned());
            }
        }
        // While it runs, a response repeats what was asked for; at its end it says what served.
        if let Some(tier) = response.service_tier.filter(|tier| (1..=NAME_MAX_BYTES).contains(&tier.raw.len())) {
            self.service_tier = Some(tier.decode().into_owned());
        }
        if let Some(usage) = response.usage {
            self.usage = Usage::scan_responses(&mut Scanner::new(usage))?.or(self.usage);
        }
        Ok(())
    }

    /// The last event of a stream: it repeats the output, which is read where no event brought it.
    fn response_ends(&mut self, kind: &[u8], response: &[u8]) -> Result<(), ScanError> {
        let response = Response::read(response)?;
        self.head(&response)?;
        if self.contents == 0 {
            self.output(&response)?;
        }
        self.done = true;
        self.ended(&response)?;
        if kind == b"response.failed" {
            self.error.get_or_insert_default();
        }
        let choice = self.only();
        choice.finish.get_or_insert(match kind {
            b"response.completed" => Finish::Stop,
            _ => Finish::Other,
        });
        Ok(())
    }

    /// Why it ended, as it says itself.
    fn ended(&mut self, response: &Response<'_>) -> Result<(), ScanError> {
        if let Some(error) = response.error {
            self.response_error(error)?;
        }
        let choice = self.only();
        let called = choice.calls.count() > 0;
        let status = response.status.map_or(&b""[..], |status| status.raw);
        let finish = match status {
            b"completed" | b"incomplete" => finish(status, response.reason, called),
            b"queued" | b"in_progress" => {
                // It goes on without this request: what it will be is asked for later.
                choice.sound = true;
                Finish::Other
            }
            b"failed" => {
                self.error.get_or_insert_default();
                return Ok(());
            }
            b"" => return Ok(()),
            _ => Finish::Other,
        };
        choice.finish = Some(finish);
        Ok(())
    }

    fn response_error(&mut self, error: &[u8]) -> Result<(), ScanError> {
        self.error.get_or_insert(error_of(error)?);
        Ok(())
    }

    /// All items of a whole output.
    fn output(&mut self, response: &Response<'_>) -> Result<(), ScanError> {
        let Some(output) = response.output.filter(|output| output.starts_with(b"[")) else { return Ok(()) };
        let mut scanner = Scanner::new(output);
        let mut index = 0;
        scanner.enter_array()?;
        while scanner.next_item()? {
            let json = scanner.value()?;
            self.item_starts(index, json)?;
            self.item_ends(index, json)?;
            if let Some(content) = Item::read(json)?.content.filter(|content| content.starts_with(b"[")) {
                self.content_parts(content)?;
            }
            index += 1;
        }
        Ok(())
    }

    /// The parts of a whole message.
    fn content_parts(&mut self, content: &[u8]) -> Result<(), ScanError> {
        let mut scanner = Scanner::new(content);
        scanner.enter_array()?;
        while scanner.next_item()? {
            if scanner.peek()? != Kind::Object {
                scanner.skip()?;
                continue;
            }
            let (mut kind, mut text, mut refusal) = (None, None, None);
            scanner.enter_object()?;
            while let Some(key) = scanner.next_member()? {
                match key.raw {
                    b"type" => kind = scanner.string_or_skip()?,
                    b"text" => text = scanner.string_or_skip()?,
                    b"refusal" => refusal = scanner.string_or_skip()?,
                    _ => {
                        scanner.skip()?;
                    }
                }
            }
            let is = |word: &str| kind.is_some_and(|kind| kind.is(word));
            let (choice, keep, conversation) = self.parts();
            let came = match (text, refusal) {
                (Some(text), _) if is("output_text") => choice.text(text, keep, conversation),
                (_, Some(refusal)) if is("refusal") => {
                    choice.refused |= !refusal.raw.is_empty();
                    !refusal.raw.is_empty()
                }
                _ => false,
            };
            self.contents += u64::from(came);
        }
        Ok(())
    }

    pub(crate) fn item_starts(&mut self, index: u64, item: &[u8]) -> Result<(), ScanError> {
        let item = Item::read(item)?;
        self.unseen = match item.kind.map_or(&b""[..], |kind| kind.raw) {
            b"function_call" | b"custom_tool_call" | b"message" | b"" => Unseen::No,
            b"reasoning" => Unseen::Thinks,
            _ => Unseen::Runs,
        };
        let choice = self.only();
        match item.kind.map_or(&b""[..], |kind| kind.raw) {
            b"function_call" | b"custom_tool_call" => {
                let text = |text: Option<Text<'_>>| text.map(|text| text.decode().into_owned()).unwrap_or_default();
                choice.calls.begin(index, &text(item.call_id), &text(item.name), None);
            }
            b"message" | b"reasoning" | b"" => return Ok(()),
            // Something that the provider did by itself, or wants done: a search, a picture, a click.
            _ => choice.sound = true,
        }
        self.contents += 1;
        Ok(())
    }

    /// A call that came without its pieces is whole here.
    pub(crate) fn item_ends(&mut self, index: u64, json: &[u8]) -> Result<(), ScanError> {
        let item = Item::read(json)?;
        let kind = item.kind.map_or(&b""[..], |kind| kind.raw);
        if !matches!(kind, b"function_call" | b"custom_tool_call") {
            return Ok(());
        }
        if !self.only().calls.knows(index) {
            self.item_starts(index, json)?;
        }
        let calls = &mut self.only().calls;
        if let Some(arguments) = item.arguments.filter(|_| calls.lacks_arguments(index)) {
            calls.append(index, arguments);
        }
        Ok(())
    }
}

/// How a response ended by its status, and by why it is incomplete.
pub(crate) fn finish(status: &[u8], reason: Option<Text<'_>>, called: bool) -> Finish {
    match (status, reason.map_or(&b""[..], |reason| reason.raw)) {
        (b"completed", _) if called => Finish::ToolCalls,
        (b"completed", _) => Finish::Stop,
        (b"incomplete", b"max_output_tokens") => Finish::Length,
        (b"incomplete", b"content_filter") => Finish::ContentFilter,
        _ => Finish::Other,
    }
}

/// What an error says of itself; what is no object says nothing.
pub(crate) fn error_of(error: &[u8]) -> Result<InBandError, ScanError> {
    let mut told = InBandError::default();
    if !error.starts_with(b"{") {
        return Ok(told);
    }
    let mut scanner = Scanner::new(error);
    scanner.enter_object()?;
    while let Some(key) = scanner.next_member()? {
        match key.raw {
            b"type" => name(&mut scanner, &mut told.kind)?,
            b"code" => name(&mut scanner, &mut told.code)?,
            _ => {
                scanner.skip()?;
            }
        }
    }
    Ok(told)
}
