//! The members of events, responses and items that are read; all others are passed over.

use crate::json::{Kind, ScanError, Scanner, Text};

/// An event of a stream.
#[derive(Default)]
pub(super) struct Event<'a> {
    pub(super) kind: Option<Text<'a>>,
    /// `output_index`
    pub(super) index: u64,
    /// `sequence_number`
    pub(super) number: Option<u64>,
    /// `delta`, where it is a text.
    pub(super) delta: Option<Text<'a>>,
    pub(super) response: Option<&'a [u8]>,
    pub(super) item: Option<&'a [u8]>,
    pub(super) code: Option<Text<'a>>,
}

/// A response, as an event or a body holds it.
#[derive(Default)]
pub(super) struct Response<'a> {
    pub(super) is_response: bool,
    pub(super) id: Option<Text<'a>>,
    pub(super) model: Option<Text<'a>>,
    pub(super) service_tier: Option<Text<'a>>,
    pub(super) status: Option<Text<'a>>,
    pub(super) output: Option<&'a [u8]>,
    pub(super) usage: Option<&'a [u8]>,
    /// `error`, where it is not null.
    pub(super) error: Option<&'a [u8]>,
    /// `incomplete_details.reason`
    pub(super) reason: Option<Text<'a>>,
}

/// An item of an output.
#[derive(Default)]
pub(super) struct Item<'a> {
    pub(super) kind: Option<Text<'a>>,
    pub(super) call_id: Option<Text<'a>>,
    pub(super) name: Option<Text<'a>>,
    /// `arguments` of a function, `input` of a custom tool.
    pub(super) arguments: Option<Text<'a>>,
    pub(super) content: Option<&'a [u8]>,
}

impl<'a> Event<'a> {
    pub(super) fn read(data: &'a [u8]) -> Result<Self, ScanError> {
        let mut event = Self::default();
        let mut scanner = Scanner::new(data);
        scanner.enter_object()?;
        while let Some(key) = scanner.next_member()? {
            match key.raw {
                b"type" => event.kind = scanner.string_or_skip()?,
                b"output_index" => event.index = scanner.count()?.unwrap_or(0),
                b"sequence_number" => event.number = scanner.count()?,
                b"delta" => event.delta = scanner.string_or_skip()?,
                b"code" => event.code = scanner.string_or_skip()?,
                b"response" => event.response = Some(scanner.value()?),
                b"item" => event.item = Some(scanner.value()?),
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
    pub(super) fn read(json: &'a [u8]) -> Result<Self, ScanError> {
        let mut response = Self::default();
        let mut scanner = Scanner::new(json);
        scanner.enter_object()?;
        while let Some(key) = scanner.next_member()? {
            match key.raw {
                b"object" => {
                    response.is_response |= scanner.string_or_skip()?.is_some_and(|object| object.is("response"))
                }
                b"id" => response.id = scanner.string_or_skip()?,
                b"model" => response.model = scanner.string_or_skip()?,
                b"service_tier" => response.service_tier = scanner.string_or_skip()?,
                b"status" => response.status = scanner.string_or_skip()?,
                b"output" => {
                    response.is_response = true;
                    response.output = Some(scanner.value()?);
                }
                b"usage" => response.usage = Some(scanner.value()?),
                b"error" => response.error = Some(scanner.value()?).filter(|error| *error != b"null"),
                b"incomplete_details" if scanner.peek()? == Kind::Object => {
                    scanner.enter_object()?;
                    while let Some(key) = scanner.next_member()? {
                        let text = scanner.string_or_skip()?;
                        response.reason = text.filter(|_| key.is("reason")).or(response.reason);
                    }
                }
                _ => {
                    scanner.skip()?;
                }
            }
        }
        scanner.end()?;
        Ok(response)
    }
}

impl<'a> Item<'a> {
    pub(super) fn read(json: &'a [u8]) -> Result<Self, ScanError> {
        let mut item = Self::default();
        let mut scanner = Scanner::new(json);
        if scanner.peek()? != Kind::Object {
            return Ok(item);
        }
        scanner.enter_object()?;
        while let Some(key) = scanner.next_member()? {
            let text = match key.raw {
                b"type" => &mut item.kind,
                b"call_id" => &mut item.call_id,
                b"name" => &mut item.name,
                b"arguments" | b"input" => &mut item.arguments,
                b"content" => {
                    item.content = Some(scanner.value()?);
                    continue;
                }
                _ => {
                    scanner.skip()?;
                    continue;
                }
            };
            *text = scanner.string_or_skip()?;
        }
        Ok(item)
    }
}
