//! Recorded texts: what the detectors find in a prompt and its answer is read by the shipped observers, as a gateway reads
//! it, and put into the line in place of the texts. They go no further.

use coalmine_wire::dialect::Dialect;
use coalmine_wire::openai::{ChatRequest, Detect, Expect, KeepText, Observer, Past, Seen};
use serde_json::{Map, Value, json};
use std::fmt;
use std::io::{self, BufRead, Read};

/// Bytes that a line with texts may have.
const LONGEST_LINE: u64 = 4 << 20;

/// Lines with texts, read as lines without them.
pub struct Observed<R> {
    lines: R,
    said: Vec<u8>,
    at: usize,
}

/// What it holds are texts.
impl<R> fmt::Debug for Observed<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observed").field("at", &self.at).finish_non_exhaustive()
    }
}

impl<R: BufRead> Observed<R> {
    /// Over these lines.
    pub const fn new(lines: R) -> Self {
        Self { lines, said: Vec::new(), at: 0 }
    }

    fn next_line(&mut self) -> io::Result<()> {
        let mut line = Vec::new();
        (&mut self.lines).take(LONGEST_LINE + 1).read_until(b'\n', &mut line)?;
        if line.len() as u64 > LONGEST_LINE {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a line is longer than 4 MiB; write one request a line",
            ));
        }
        (self.said, self.at) = (observed(line), 0);
        Ok(())
    }
}

impl<R: BufRead> Read for Observed<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.at == self.said.len() {
            self.next_line()?;
        }
        let rest = &self.said[self.at..];
        let n = rest.len().min(into.len());
        into[..n].copy_from_slice(&rest[..n]);
        self.at += n;
        Ok(n)
    }
}

/// A line without its texts. What is no object is left as it is, for whoever reads it to name it.
fn observed(line: Vec<u8>) -> Vec<u8> {
    let Ok(mut object) = serde_json::from_slice::<Map<String, Value>>(&line) else { return line };
    let (prompt, output) = (object.remove("prompt"), object.remove("output"));
    if let Some(Value::String(output)) = output {
        note(&mut object, prompt.unwrap_or_default(), &output);
    }
    let mut said = Value::Object(object).to_string().into_bytes();
    said.push(b'\n');
    said
}

/// Puts in what the observers find; what the line says already stays.
fn note(object: &mut Map<String, Value>, prompt: Value, output: &str) {
    let is_json = object.contains_key("schema_broken");
    let cut = object.get("truncated") == Some(&Value::Bool(true));
    let Some(seen) = seen(prompt, output, cut) else { return };
    let mut say = |key: &str, value: Value| {
        object.entry(key).or_insert(value);
    };
    say("refusal", seen.refusal.is_some().into());
    say("empty", seen.empty.into());
    say("truncated", cut.into());
    let Some(found) = seen.detected else { return };
    say("chars", found.chars.into());
    if is_json {
        return;
    }
    say("repetition", found.repetition.into());
    if let Some(other) = found.other_language {
        say("other_language", other.into());
    }
    if let Some(opening) = &seen.opening {
        say("opening", format!("{:016x}", opening.key).into());
    }
}

/// What a gateway would have seen of this answer to this prompt: a text, or the messages of a chat completion.
fn seen(prompt: Value, output: &str, cut: bool) -> Option<Seen> {
    let messages = match prompt {
        Value::Array(messages) => Value::Array(messages),
        Value::String(text) => json!([{ "role": "user", "content": text }]),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => json!([]),
    };
    let request = json!({ "model": "recorded", "messages": messages }).to_string();
    let past = Past::read(&ChatRequest::read_as(Dialect::Chat, request.as_bytes()).ok()?);
    let expect = Expect {
        dialect: Dialect::Chat,
        detect: Detect::On { earlier: past.calls, asked_in: past.asked_in },
        text: KeepText::No,
        ..Expect::default()
    };
    let finish = if cut { "length" } else { "stop" };
    let choice = json!({ "index": 0, "finish_reason": finish, "message": { "role": "assistant", "content": output } });
    let mut observer = Observer::new(expect);
    observer.feed(json!({ "object": "chat.completion", "choices": [choice] }).to_string().as_bytes());
    Some(observer.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &str) -> String {
        let mut text = String::new();
        Observed::new(lines.as_bytes()).read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn texts_are_read_by_the_observers_and_go_no_further() {
        let line = json!({
            "version": "stable",
            "prompt": "Wo ist meine Bestellung? Sie ist noch nicht bei mir, und ich warte auf das Paket.",
            "output": "I'm sorry, but I can't help with that. Please ask the shop where you have bought it.",
        });
        let said: Map<String, Value> = serde_json::from_str(&read(&format!("{line}\n"))).unwrap();
        assert_eq!((&said["refusal"], &said["other_language"]), (&json!(true), &json!(true)));
        assert_eq!((&said["empty"], &said["repetition"]), (&json!(false), &json!(false)));
        assert!(said["chars"].as_u64().unwrap() > 50 && said["opening"].as_str().unwrap().len() == 16, "{said:?}");
        assert!(!said.contains_key("prompt") && !said.contains_key("output"));
    }

    #[test]
    fn what_a_line_says_itself_stays_and_what_is_no_object_is_named_by_its_reader() {
        let said = read("{\"version\":\"stable\",\"output\":\"\",\"refusal\":true}\nno json\n");
        let (first, rest) = said.split_once('\n').unwrap();
        let first: Map<String, Value> = serde_json::from_str(first).unwrap();
        assert_eq!((&first["refusal"], &first["empty"], rest), (&json!(true), &json!(true), "no json\n"));
        let wrong = coalmine_sim::backtest::Data::read(
            io::BufReader::new(Observed::new(&b"{\"prompt\":\"a\"}"[..])),
            &coalmine_sim::backtest::Labels::default(),
        );
        assert!(wrong.unwrap_err().to_string().starts_with("line 1: `version` is missing"));
    }
}
