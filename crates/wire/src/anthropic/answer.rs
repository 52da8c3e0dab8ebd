//! Reading an answer of messages: events of a stream, or one body. What is found goes into the state
//! that both dialects share; an answer of messages is one choice.

use crate::json::{Kind, ScanError, Scanner, Span, Text};
use crate::openai::answer::{Answer, Unseen, name};
use crate::openai::{Finish, InBandError};

/// What the members of an event say; which of them count is known by its type.
#[derive(Default)]
struct Members<'a> {
    kind: Option<Text<'a>>,
    index: u64,
    message: Option<&'a [u8]>,
    block: Option<&'a [u8]>,
    delta: Option<Span>,
}

/// The members of a block, or of the piece of one.
#[derive(Default)]
struct Block<'a> {
    kind: Option<Text<'a>>,
    id: Option<Text<'a>>,
    name: Option<Text<'a>>,
    text: Option<Text<'a>>,
    thinking: Option<Text<'a>>,
    json: Option<Text<'a>>,
    input: Option<&'a [u8]>,
    stop_reason: Option<Text<'a>>,
}

impl Answer {
    /// Reads the data of one event. What it is its data say, or else its name.
    pub(crate) fn message_event(&mut self, name: &[u8], data: &[u8]) -> Result<(), ScanError> {
        let mut scanner = Scanner::new(data);
        let mut event = Members::default();
        let mut error = None;
        scanner.enter_object()?;
        while let Some(key) = scanner.next_member()? {
            match key.raw {
                b"type" => event.kind = scanner.string_or_skip()?,
                b"index" => event.index = scanner.count()?.unwrap_or(0),
                b"message" => event.message = Some(scanner.value()?),
                b"content_block" => event.block = Some(scanner.value()?),
                b"delta" => event.delta = Some(scanner.skip()?),
                b"usage" => self.message_usage(&mut scanner)?,
                b"error" => error = Some(scanner.value()?),
                _ => {
                    scanner.skip()?;
                }
            }
        }
        scanner.end()?;
        match event.kind.map_or(name, |kind| kind.raw) {
            b"message_start" => {
                self.stepped |= !self.readable;
                self.message(event.message.unwrap_or(b"{}"))?;
            }
            b"content_block_start" => {
                self.stepped = true;
                self.block_starts(event.index, event.block.unwrap_or(b"{}"))?;
            }
            b"content_block_delta" => self.block_grows(event.index, data, event.delta)?,
            b"content_block_stop" => {
                self.stepped = true;
                if self.unseen == Unseen::Thinks {
                    self.unseen = Unseen::No;
                }
            }
            b"message_delta" => {
                let delta = Block::read(event.delta.map_or(b"{}", |delta| delta.of(data)))?;
                let told = delta.stop_reason.filter(|word| !word.raw.is_empty()).map(finish);
                self.stepped |= told.is_some();
                let choice = self.only();
                choice.finish = told.or(choice.finish);
            }
            b"message_stop" => (self.done, self.stepped) = (true, true),
            b"error" => self.message_error(error)?,
            kind => self.stepped |= !is_ping(kind),
        }
        Ok(())
    }

    /// Reads a body that is no stream: a message, or an error.
    pub(crate) fn message_body(&mut self, body: &[u8]) -> Result<(), ScanError> {
        let mut scanner = Scanner::new(body);
        let (mut kind, mut error) = (None, None);
        scanner.enter_object()?;
        while let Some(key) = scanner.next_member()? {
            match key.raw {
                b"type" => kind = scanner.string_or_skip()?,
                b"error" => error = Some(scanner.value()?),
                _ => {
                    scanner.skip()?;
                }
            }
        }
        scanner.end()?;
        match kind.map_or(&b""[..], |kind| kind.raw) {
            b"error" => self.message_error(error),
            b"message" => self.message(body),
            _ => Ok(()),
        }
    }

    /// An event that is an error by its name, whatever it says.
    pub(crate) fn message_error(&mut self, error: Option<&[u8]>) -> Result<(), ScanError> {
        let mut told = InBandError::default();
        if let Some(error) = error.filter(|error| error.starts_with(b"{")) {
            let mut scanner = Scanner::new(error);
            scanner.enter_object()?;
            while let Some(key) = scanner.next_member()? {
                if key.is("type") {
                    name(&mut scanner, &mut told.kind)?;
                } else {
                    scanner.skip()?;
                }
            }
        }
        self.stepped = true;
        self.error.get_or_insert(told);
        Ok(())
    }

    /// A message: whole, or as it stands at the start of a stream.
    fn message(&mut self, message: &[u8]) -> Result<(), ScanError> {
        let mut scanner = Scanner::new(message);
        let mut blocks = None;
        let mut stop = None;
        self.readable = true;
        self.only();
        if scanner.peek()? != Kind::Object {
            return Ok(());
        }
        scanner.enter_object()?;
        while let Some(key) = scanner.next_member()? {
            match key.raw {
                b"model" => name(&mut scanner, &mut self.model)?,
                b"usage" => self.message_usage(&mut scanner)?,
                b"content" => blocks = Some(scanner.value()?),
                b"stop_reason" => stop = scanner.string_or_skip()?.filter(|word| !word.raw.is_empty()),
                _ => {
                    scanner.skip()?;
                }
            }
        }
        if let Some(blocks) = blocks.filter(|blocks| blocks.starts_with(b"[")) {
            let mut scanner = Scanner::new(blocks);
            let mut index = 0;
            scanner.enter_array()?;
            while scanner.next_item()? {
                self.block_starts(index, scanner.value()?)?;
                index += 1;
            }
        }
        let choice = self.only();
        choice.finish = stop.map(finish).or(choice.finish);
        Ok(())
    }

    /// `usage`: tokens, and the tier that served.
    fn message_usage(&mut self, scanner: &mut Scanner<'_>) -> Result<(), ScanError> {
        let usage = scanner.value()?;
        let before = self.told;
        self.told.scan(&mut Scanner::new(usage))?;
        self.stepped |= self.told != before;
        let mut scanner = Scanner::new(usage);
        if self.service_tier.is_some() || scanner.peek()? != Kind::Object {
            return Ok(());
        }
        scanner.enter_object()?;
        while let Some(key) = scanner.next_member()? {
            if key.is("service_tier") {
                name(&mut scanner, &mut self.service_tier)?;
            } else {
                scanner.skip()?;
            }
        }
        Ok(())
    }

    fn block_starts(&mut self, index: u64, block: &[u8]) -> Result<(), ScanError> {
        let block = Block::read(block)?;
        self.unseen = unseen(block.kind.map_or(&b""[..], |kind| kind.raw));
        let (choice, keep, conversation) = self.parts();
        let came = match block.kind.map_or(&b""[..], |kind| kind.raw) {
            b"text" => block.text.is_some_and(|text| choice.text(text, keep, conversation)),
            b"thinking" => block.thinking.is_some_and(|text| choice.thinks(text)),
            b"redacted_thinking" => false,
            b"tool_use" => {
                let text = |text: Option<Text<'_>>| text.map(|text| text.decode().into_owned()).unwrap_or_default();
                let input = block.input.filter(|input| !matches!(*input, b"{}" | b"null"));
                choice.calls.begin(index, &text(block.id), &text(block.name), input);
                true
            }
            b"" => false,
            // Something that the provider did by itself, and shows.
            _ => {
                choice.sound = true;
                true
            }
        };
        self.contents += u64::from(came);
        Ok(())
    }

    fn block_grows(&mut self, index: u64, data: &[u8], delta: Option<Span>) -> Result<(), ScanError> {
        let start = delta.map_or(0, |delta| delta.start);
        let delta = Block::read(delta.map_or(b"{}", |delta| delta.of(data)))?;
        if let (Some(b"text_delta"), Some(text)) = (delta.kind.map(|kind| kind.raw), delta.text) {
            self.alike.text(0, start + text.at + 1, text.raw.len());
        }
        let (choice, keep, conversation) = self.parts();
        let came = match delta.kind.map_or(&b""[..], |kind| kind.raw) {
            b"text_delta" => delta.text.is_some_and(|text| choice.text(text, keep, conversation)),
            b"thinking_delta" => delta.thinking.is_some_and(|text| choice.thinks(text)),
            b"input_json_delta" => delta.json.is_some_and(|text| {
                choice.calls.append(index, text);
                !text.raw.is_empty()
            }),
            // a seal, a source
            kind => {
                self.stepped |= !kind.is_empty();
                false
            }
        };
        self.contents += u64::from(came);
        Ok(())
    }
}

impl<'a> Block<'a> {
    fn read(json: &'a [u8]) -> Result<Self, ScanError> {
        let mut block = Self::default();
        let mut scanner = Scanner::new(json);
        if scanner.peek()? != Kind::Object {
            return Ok(block);
        }
        scanner.enter_object()?;
        while let Some(key) = scanner.next_member()? {
            let text = match key.raw {
                b"type" => &mut block.kind,
                b"id" => &mut block.id,
                b"name" => &mut block.name,
                b"text" => &mut block.text,
                b"thinking" => &mut block.thinking,
                b"partial_json" => &mut block.json,
                b"stop_reason" => &mut block.stop_reason,
                b"input" => {
                    block.input = Some(scanner.value()?);
                    continue;
                }
                _ => {
                    scanner.skip()?;
                    continue;
                }
            };
            *text = scanner.string_or_skip()?;
        }
        Ok(block)
    }
}

/// Whether an event is one of those by which a server shows that it is there.
pub(crate) fn is_ping(kind: &[u8]) -> bool {
    matches!(kind, b"" | b"ping" | b"keepalive" | b"keep_alive" | b"keep-alive" | b"heartbeat")
}

/// What goes on where a block of this kind has begun. A call of a tool of the provider's own is followed by what it found.
fn unseen(kind: &[u8]) -> Unseen {
    match kind {
        b"thinking" | b"redacted_thinking" => Unseen::Thinks,
        b"tool_use" => Unseen::No,
        _ if kind.ends_with(b"_tool_use") => Unseen::Runs,
        _ => Unseen::No,
    }
}

fn finish(word: Text<'_>) -> Finish {
    match word.raw {
        b"end_turn" | b"stop_sequence" | b"pause_turn" => Finish::Stop,
        b"max_tokens" | b"model_context_window_exceeded" => Finish::Length,
        b"tool_use" => Finish::ToolCalls,
        b"refusal" => Finish::ContentFilter,
        _ => Finish::Other,
    }
}
