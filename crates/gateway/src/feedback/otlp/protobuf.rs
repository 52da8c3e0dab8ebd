//! The few messages of OTLP's logs that are read, in their binary form: a field is a number and a kind, then a value
//! (protobuf, "Encoding"). Unknown fields and attributes are passed over; nothing is kept of them, nor of resources and scopes.

use super::{Attribute, Export, READ, Record, ResourceLogs, ScopeLogs, Value};

/// The most log records in one export that are looked at at all.
const RECORDS_MAX: usize = 100_000;

/// What is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unreadable {
    /// It ends within a field.
    #[error("it ends within a field")]
    Cut,
    /// A number of more than 64 bits, or a kind that no field has.
    #[error("a field has a kind or a number that none has")]
    Field,
    /// A text that is none.
    #[error("a text is not UTF-8")]
    Text,
    /// More records than are looked at.
    #[error("it holds more than {RECORDS_MAX} log records")]
    Records,
}

/// One field.
#[derive(Debug, Clone, Copy)]
enum Field<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32,
}

/// The fields of a message, in their order.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn next(&mut self) -> Result<Option<(u64, Field<'a>)>, Unreadable> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let field = match tag & 7 {
            0 => Field::Varint(self.varint()?),
            1 => Field::Fixed64(u64::from_le_bytes(self.take(8)?.try_into().map_err(|_| Unreadable::Cut)?)),
            2 => {
                let length = self.varint()?;
                Field::Bytes(self.take(usize::try_from(length).map_err(|_| Unreadable::Cut)?)?)
            }
            5 => {
                self.take(4)?;
                Field::Fixed32
            }
            _ => return Err(Unreadable::Field),
        };
        Ok(Some((tag >> 3, field)))
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Unreadable> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Unreadable::Cut)?;
        self.0 = rest;
        Ok(taken)
    }

    fn varint(&mut self) -> Result<u64, Unreadable> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return if shift == 63 && byte > 1 { Err(Unreadable::Field) } else { Ok(number) };
            }
        }
        Err(Unreadable::Field)
    }
}

/// An `ExportLogsServiceRequest`. What it tells of resources and scopes is nothing that is read, so that all its records
/// come as those of one.
pub(super) fn read(body: &[u8]) -> Result<Export, Unreadable> {
    let mut log_records = Vec::new();
    let mut resources = Fields(body);
    while let Some((number, field)) = resources.next()? {
        let (1, Field::Bytes(resource)) = (number, field) else { continue };
        let mut scopes = Fields(resource);
        while let Some((number, field)) = scopes.next()? {
            let (2, Field::Bytes(scope)) = (number, field) else { continue };
            records(scope, &mut log_records)?;
        }
    }
    Ok(Export { resource_logs: vec![ResourceLogs { scope_logs: vec![ScopeLogs { log_records }] }] })
}

fn records(scope: &[u8], log_records: &mut Vec<Record>) -> Result<(), Unreadable> {
    let mut fields = Fields(scope);
    while let Some((number, field)) = fields.next()? {
        if let (2, Field::Bytes(bytes)) = (number, field) {
            if log_records.len() == RECORDS_MAX {
                return Err(Unreadable::Records);
            }
            log_records.push(record(bytes)?);
        }
    }
    Ok(())
}

fn record(bytes: &[u8]) -> Result<Record, Unreadable> {
    let mut record = Record { event_name: String::new(), span_id: String::new(), attributes: Vec::new() };
    let mut fields = Fields(bytes);
    while let Some((number, field)) = fields.next()? {
        match (number, field) {
            (6, Field::Bytes(bytes)) => record.attributes.extend(attribute(bytes)?),
            (10, Field::Bytes(bytes)) => record.span_id = bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
            (12, Field::Bytes(bytes)) => record.event_name = text(bytes)?,
            _ => {}
        }
    }
    Ok(record)
}

/// `None`: it is none that is read.
fn attribute(bytes: &[u8]) -> Result<Option<Attribute>, Unreadable> {
    let mut attribute = Attribute { key: String::new(), value: Value::default() };
    let mut fields = Fields(bytes);
    while let Some((number, field)) = fields.next()? {
        match (number, field) {
            (1, Field::Bytes(bytes)) => attribute.key = text(bytes)?,
            (2, Field::Bytes(bytes)) => attribute.value = value(bytes)?,
            _ => {}
        }
    }
    Ok(Some(attribute).filter(|attribute| READ.contains(&attribute.key.as_str())))
}

fn value(bytes: &[u8]) -> Result<Value, Unreadable> {
    let mut value = Value::default();
    let mut fields = Fields(bytes);
    while let Some((number, field)) = fields.next()? {
        match (number, field) {
            (1, Field::Bytes(bytes)) => value.string_value = Some(text(bytes)?),
            (2, Field::Varint(truth)) => value.bool_value = Some(truth != 0),
            (3, Field::Varint(number)) => value.int_value = Some(number.cast_signed().into()),
            (4, Field::Fixed64(bits)) => value.double_value = Some(f64::from_bits(bits).into()),
            _ => {}
        }
    }
    Ok(value)
}

fn text(bytes: &[u8]) -> Result<String, Unreadable> {
    String::from_utf8(bytes.to_vec()).map_err(|_| Unreadable::Text)
}

/// An `ExportLogsServiceResponse`: how many records were refused, and why the first of them.
pub(super) fn taken(refused: u64, why: Option<&str>) -> Vec<u8> {
    let mut partial = Vec::new();
    if refused > 0 {
        partial.push(1 << 3);
        varint(refused, &mut partial);
        bytes(2, why.unwrap_or_default().as_bytes(), &mut partial);
    }
    let mut out = Vec::new();
    if !partial.is_empty() {
        bytes(1, &partial, &mut out);
    }
    out
}

/// A `google.rpc.Status`, which is what a failure is told as.
pub(super) fn status(message: &str) -> Vec<u8> {
    let mut out = Vec::new();
    bytes(2, message.as_bytes(), &mut out);
    out
}

fn bytes(number: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(number << 3 | 2);
    varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

fn varint(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(0x80 | number.to_le_bytes()[0]);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
    use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
    use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
    use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs as TheirResource, ScopeLogs as TheirScope};
    use proptest::prelude::*;
    use prost::Message as _;

    fn attribute(key: &str, value: Any) -> KeyValue {
        KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
    }

    #[test]
    fn what_the_conventions_own_code_writes_is_read() {
        let record = LogRecord {
            event_name: "gen_ai.evaluation.result".to_owned(),
            span_id: vec![0xab, 0x01],
            time_unix_nano: 7,
            body: Some(AnyValue { value: Some(Any::StringValue("not kept".to_owned())) }),
            attributes: vec![
                attribute("enduser.id", Any::StringValue("ü".to_owned())),
                attribute("not.read", Any::StringValue("not kept".to_owned())),
                attribute("gen_ai.evaluation.score.value", Any::DoubleValue(0.75)),
                attribute("gen_ai.response.id", Any::IntValue(-3)),
                attribute("event.name", Any::BoolValue(true)),
            ],
            ..LogRecord::default()
        };
        let scope = TheirScope { log_records: vec![record], ..TheirScope::default() };
        let resource = TheirResource { scope_logs: vec![scope], ..TheirResource::default() };
        let body = ExportLogsServiceRequest { resource_logs: vec![resource] }.encode_to_vec();
        let export = read(&body).unwrap();
        let record = &export.resource_logs[0].scope_logs[0].log_records[0];
        assert_eq!((record.event_name.as_str(), record.span_id.as_str()), ("gen_ai.evaluation.result", "ab01"));
        let value = |key: &str| record.value(key).unwrap();
        assert_eq!(value("enduser.id").string_value.as_deref(), Some("ü"));
        assert_eq!(value("gen_ai.evaluation.score.value").double_value, Some(0.75.into()));
        assert_eq!(value("gen_ai.response.id").int_value, Some((-3).into()));
        assert_eq!(value("event.name").bool_value, Some(true));
        assert_eq!(record.attributes.len(), 4);
        for cut in 1..body.len() {
            assert!(read(&body[..cut]).is_err(), "{cut}");
        }
    }

    #[test]
    fn what_is_answered_their_own_code_reads() {
        assert!(taken(0, None).is_empty());
        let told = ExportLogsServiceResponse::decode(&taken(300, Some("why"))[..]).unwrap().partial_success.unwrap();
        assert_eq!((told.rejected_log_records, told.error_message.as_str()), (300, "why"));
        assert_eq!(status("no"), [0x12, 2, b'n', b'o']);
    }

    /// Resources, scopes and attributes of two bytes each would be kept in tens.
    #[test]
    fn what_is_not_read_takes_no_memory() {
        let empty = |number: u8, count: usize| [number << 3 | 2, 0].repeat(count);
        let within = |number: u8, inside: &[u8]| {
            let mut out = Vec::new();
            super::bytes(number, inside, &mut out);
            out
        };
        let attributes = within(1, &within(2, &within(2, &empty(6, 100_000))));
        for body in [empty(1, 100_000), within(1, &empty(2, 100_000)), attributes] {
            let held = allocation_counter::measure(|| drop(read(&body).unwrap())).bytes_max;
            assert!(held < 4096, "{held}");
        }
        let many = within(1, &within(2, &empty(2, RECORDS_MAX + 1)));
        assert_eq!(read(&many).err(), Some(Unreadable::Records));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = read(&bytes);
        }
    }
}
