//! YAML as a tree in which every key and value knows its place.
//!
//! A small and strict part of YAML 1.2: one document, no anchors, no aliases, no tags, keys are
//! plain text and stand once. Scalars keep the text that was written; what it means is decided by
//! the key that it stands under, so `1.0` and `no` never change on the way.

use crate::config::fault::{self, At, Fault, dot, index};
use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};
use std::borrow::Cow;
use std::collections::HashMap;

/// The longest file that is read, in bytes.
const MAX_BYTES: usize = 4 << 20;
/// The most keys, values and brackets that are read.
const MAX_EVENTS: usize = 200_000;
/// How deep values may nest.
const MAX_DEPTH: usize = 24;
/// Stand for the braces of `${NAME}` while YAML is parsed, where braces would open a mapping.
const OPEN: char = '\u{E000}';
const CLOSE: char = '\u{E001}';

/// A value and its place.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) at: At,
    pub(crate) value: Value,
}

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    /// As written, without quotes; `plain` when there were none.
    Scalar { text: String, plain: bool },
    /// Items in order.
    List(Vec<Node>),
    /// Entries in order; each key once.
    Map(Vec<Entry>),
}

/// A key and its value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) at: At,
    pub(crate) value: Node,
}

impl Node {
    /// Whether it is written as nothing: empty, `~` or `null`.
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~" | "null"))
    }

    /// What it is, in a word for people.
    pub(crate) fn shape(&self) -> &'static str {
        match &self.value {
            Value::Scalar { .. } if self.is_null() => "empty",
            Value::Scalar { .. } => "a single value",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }
}

/// The place of the value at a path (`stages[1].weight`), or of the nearest one above it that stands.
pub(crate) fn locate(root: &Node, path: &str) -> At {
    let mut node = root;
    for step in path.split(['.', '[']).filter(|step| !step.is_empty()) {
        let inner = match &node.value {
            Value::Map(entries) => entries.iter().find(|entry| entry.key == step).map(|entry| &entry.value),
            Value::List(items) => step.trim_end_matches(']').parse().ok().and_then(|i: usize| items.get(i)),
            Value::Scalar { .. } => None,
        };
        match inner {
            Some(inner) => node = inner,
            None => break,
        }
    }
    node.at
}

/// Reads a document. What can be read is returned even where something is wrong, so that the
/// readers behind can add what they find.
pub(crate) fn parse(text: &str) -> (Option<Node>, Vec<Fault>) {
    if text.len() > MAX_BYTES {
        let what = format!("the file has {} bytes, more than {MAX_BYTES}", text.len());
        return (None, vec![whole(what, "move prompts and tools into files of their own")]);
    }
    let shielded = shield(text);
    let mut builder =
        Builder { parser: Parser::new_from_str(&shielded), events: 0, faults: Vec::new(), path: Vec::new() };
    let node = builder.document().unwrap_or_else(|stop| {
        let (at, what, mend) = match stop {
            Stop::NoYaml(error) => explain(&error),
            Stop::TooMuch(at) => (
                at,
                format!("the file has more than {MAX_EVENTS} keys and values"),
                "split it, or move prompts and tools into files of their own",
            ),
        };
        builder.fault(at, what, mend);
        None
    });
    (node, builder.faults)
}

fn whole(what: String, mend: &str) -> Fault {
    Fault { at: At { line: 1, column: 1 }, key: String::new(), what, nearest: None, mend: mend.to_owned() }
}

fn place(marker: &Marker) -> At {
    At { line: marker.line().max(1), column: marker.col() + 1 }
}

/// `${NAME}` with its braces replaced by as many characters that mean nothing to YAML, so that it
/// can be written without quotes inside `{ … }` too and columns stay right.
fn shield(text: &str) -> Cow<'_, str> {
    if !text.contains("${") || text.contains([OPEN, CLOSE]) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let (before, from) = rest.split_at(start);
        out.push_str(before);
        let name_len = from[2..].find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(from.len() - 2);
        let after = &from[2 + name_len..];
        if name_len > 0 && after.starts_with('}') {
            out.push('$');
            out.push(OPEN);
            out.push_str(&from[2..2 + name_len]);
            out.push(CLOSE);
            rest = &after[1..];
        } else {
            out.push_str("${");
            rest = &from[2..];
        }
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// Undoes [`shield`]; what has no dollar before it was not shielded.
fn unshield(text: &str) -> String {
    if !text.contains(OPEN) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    let mut open = false;
    for c in text.chars() {
        let shielded = (c == OPEN && out.ends_with('$')) || (c == CLOSE && open);
        out.push(match c {
            OPEN if shielded => '{',
            CLOSE if shielded => '}',
            other => other,
        });
        open = (open || (c == OPEN && shielded)) && c != CLOSE;
    }
    out
}

fn explain(error: &ScanError) -> (At, String, &'static str) {
    let info = error.info().to_lowercase();
    let mend = if info.contains("mapping values") {
        "one `key: value` a line, or put several on one line in braces: `{ weight: 5%, bake: 24h }`"
    } else if info.contains("unprintable") {
        "remove the character; a text in double quotes can have it as an escape, `\\0` say"
    } else if info.contains("tab") {
        "indent with spaces"
    } else if info.contains("unknown anchor") {
        "aliases are not read: write the value out, and put a text that begins with `*` into quotes"
    } else if info.contains("recursion limit") {
        "values nest too deep: no key needs more than a few levels"
    } else {
        "check the indentation, the quotes and the brackets before this place"
    };
    (place(error.marker()), format!("this is not YAML: {info}"), mend)
}

/// Why a document is read no further.
enum Stop {
    NoYaml(ScanError),
    TooMuch(At),
}

struct Builder<'input> {
    parser: Parser<'input, StrInput<'input>>,
    /// So many came.
    events: usize,
    faults: Vec<Fault>,
    /// The paths of the values that are open, from the outermost on.
    path: Vec<String>,
}

type Scanned<'input> = (Event<'input>, Span);

impl<'input> Builder<'input> {
    fn fault(&mut self, at: At, what: impl Into<String>, mend: impl Into<String>) {
        let key = self.path.last().cloned().unwrap_or_default();
        fault::add(&mut self.faults, Fault { at, key, what: what.into(), nearest: None, mend: mend.into() });
    }

    fn next(&mut self) -> Result<Option<Scanned<'input>>, Stop> {
        let next = self.parser.next_event().transpose().map_err(Stop::NoYaml)?;
        self.events += 1;
        match next {
            Some((_, span)) if self.events > MAX_EVENTS => Err(Stop::TooMuch(place(&span.start))),
            next => Ok(next),
        }
    }

    /// The first document; a second one is a fault.
    fn document(&mut self) -> Result<Option<Node>, Stop> {
        let mut found = None;
        while let Some((event, span)) = self.next()? {
            match event {
                Event::Nothing | Event::StreamStart | Event::DocumentEnd => {}
                Event::StreamEnd => break,
                Event::DocumentStart(_) => {
                    if found.is_some() {
                        self.fault(place(&span.start), "a second document begins here", "keep one document a file");
                        break;
                    }
                }
                Event::Alias(_)
                | Event::Scalar(..)
                | Event::SequenceStart(..)
                | Event::SequenceEnd
                | Event::MappingStart(..)
                | Event::MappingEnd => found = self.node((event, span), 0)?,
            }
        }
        Ok(found)
    }

    /// The value that begins with this event; `None` where it was refused (and said so).
    fn node(&mut self, (event, span): Scanned<'input>, depth: usize) -> Result<Option<Node>, Stop> {
        let at = place(&span.start);
        let value = match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_extras(at, anchor, tag.as_deref());
                Value::Scalar { text: unshield(&text), plain: style == ScalarStyle::Plain }
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse_extras(at, anchor, tag.as_deref());
                return self.list(at, depth + 1);
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse_extras(at, anchor, tag.as_deref());
                return self.map(at, depth + 1);
            }
            Event::Alias(_) => {
                self.fault(at, "aliases are not read", "write the value out");
                return Ok(None);
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd
            | Event::SequenceEnd
            | Event::MappingEnd => return Ok(None),
        };
        Ok(Some(Node { at, value }))
    }

    fn refuse_extras(&mut self, at: At, anchor: usize, tag: Option<&Tag>) {
        if anchor != 0 {
            self.fault(at, "anchors are not read", "remove the `&name` and write the value out where it is used");
        }
        if tag.is_some() {
            self.fault(at, "tags are not read", "remove the `!tag`; the key says what its value is");
        }
    }

    fn list(&mut self, at: At, depth: usize) -> Result<Option<Node>, Stop> {
        let mut items = Vec::new();
        let mut count = 0;
        while let Some((event, span)) = self.next()? {
            if event == Event::SequenceEnd {
                break;
            }
            self.path.push(index(self.path.last().map_or("", String::as_str), count));
            items.extend(self.within((event, span), depth)?);
            self.path.pop();
            count += 1;
        }
        Ok(Some(Node { at, value: Value::List(items) }))
    }

    fn map(&mut self, at: At, depth: usize) -> Result<Option<Node>, Stop> {
        let mut entries: Vec<Entry> = Vec::new();
        // the line of each key
        let mut lines: HashMap<String, usize> = HashMap::new();
        while let Some((event, span)) = self.next()? {
            if event == Event::MappingEnd {
                break;
            }
            let key_at = place(&span.start);
            let key = match self.within((event, span), depth)?.map(|key| key.value) {
                Some(Value::Scalar { text, .. }) => Some(text),
                Some(Value::List(_) | Value::Map(_)) => {
                    self.fault(key_at, "a key is text here", "write a name before the colon");
                    None
                }
                None => None,
            };
            let Some(value) = self.next()? else { break };
            self.path.push(dot(self.path.last().map_or("", String::as_str), key.as_deref().unwrap_or("?")));
            let value = self.within(value, depth)?;
            if let (Some(key), Some(value)) = (key, value) {
                if let Some(line) = lines.get(&key) {
                    self.fault(key_at, format!("the key stands twice, first in line {line}"), "keep one of them");
                } else {
                    lines.insert(key.clone(), key_at.line);
                    entries.push(Entry { key, at: key_at, value });
                }
            }
            self.path.pop();
        }
        Ok(Some(Node { at, value: Value::Map(entries) }))
    }

    /// A value inside another; what nests too deep is read over without growing the stack.
    fn within(&mut self, (event, span): Scanned<'input>, depth: usize) -> Result<Option<Node>, Stop> {
        let opens = matches!(event, Event::SequenceStart(..) | Event::MappingStart(..));
        if depth < MAX_DEPTH || !opens {
            return self.node((event, span), depth);
        }
        self.fault(place(&span.start), "values nest too deep", "no key needs more than a few levels");
        let mut open = 1;
        while open > 0 {
            match self.next()? {
                Some((Event::SequenceStart(..) | Event::MappingStart(..), _)) => open += 1,
                Some((Event::SequenceEnd | Event::MappingEnd, _)) => open -= 1,
                Some(_) => {}
                None => break,
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scalar(node: &Node) -> &str {
        match &node.value {
            Value::Scalar { text, .. } => text,
            Value::List(_) | Value::Map(_) => panic!("not a scalar"),
        }
    }

    #[test]
    fn a_reference_needs_no_quotes_inside_braces_and_keeps_columns() {
        let (node, faults) = parse("a: { key: ${OPENAI_API_KEY}, b: 2 }\n");
        assert_eq!(faults, []);
        let Some(Node { value: Value::Map(outer), .. }) = node else { panic!("a mapping") };
        let Value::Map(inner) = &outer[0].value.value else { panic!("a mapping") };
        assert_eq!(scalar(&inner[0].value), "${OPENAI_API_KEY}");
        assert_eq!(inner[1].at, At { line: 1, column: 30 });
    }

    #[test]
    fn a_path_leads_to_its_place_or_to_the_nearest_above() {
        let root = parse("a:\n  - b: 1\n  - b: 2\n").0.unwrap();
        assert_eq!(locate(&root, "a[1].b"), At { line: 3, column: 8 });
        assert_eq!(locate(&root, "a[1].c"), At { line: 3, column: 5 });
        assert_eq!(locate(&root, "z"), At { line: 1, column: 1 });
    }

    #[test]
    fn scalars_keep_what_was_written() {
        let (node, _) = parse("[1.0, no, '5', ~, 0x10]");
        let Some(Node { value: Value::List(items), .. }) = node else { panic!("a list") };
        let texts: Vec<&str> = items.iter().map(scalar).collect();
        assert_eq!(texts, ["1.0", "no", "5", "~", "0x10"]);
        assert!(items[3].is_null() && !items[2].is_null());
    }

    #[test]
    fn doubled_keys_anchors_tags_and_second_documents_are_faults() {
        let (_, faults) = parse("a: 1\na: &x 2\nb: *x\nc: !t 3\n---\nd: 4\n");
        let whats: Vec<&str> = faults.iter().map(|fault| fault.what.as_str()).collect();
        assert_eq!(
            whats,
            [
                "anchors are not read",
                "the key stands twice, first in line 1",
                "aliases are not read",
                "tags are not read",
                "a second document begins here"
            ]
        );
    }

    #[test]
    fn deep_nesting_is_refused_without_depth_on_the_stack() {
        let (_, faults) = parse(&"[".repeat(200));
        assert!(!faults.is_empty());
        let (_, faults) = parse(&format!("{}{}", "[".repeat(100), "]".repeat(100)));
        assert!(faults.iter().any(|fault| fault.what == "values nest too deep"), "{faults:?}");
        // keys nest as well, which once overflowed the stack, and lists on one line
        for nest in ["? ", "- ", ": ", "[? ", "? {"] {
            let (_, faults) = parse(&nest.repeat(100_000));
            let told = |fault: &Fault| fault.what.contains("too deep") || fault.what.contains("recursion limit");
            assert!(faults.iter().any(told), "{nest} {faults:?}");
        }
    }

    #[test]
    fn a_file_of_endless_values_is_left_where_they_are_too_many() {
        let many: String = (0..MAX_EVENTS).map(|n| format!("k{n}: *\n")).collect();
        for text in ["- a\n".repeat(MAX_EVENTS), many.replace('*', "1"), format!("[{}", "a,".repeat(MAX_EVENTS))] {
            let (node, faults) = parse(&text);
            assert!(node.is_none() && faults[0].what.contains("more than 200000"), "{faults:?}");
            assert!(faults[0].at > At { line: 1, column: 1 }, "{faults:?}");
        }
        let (_, faults) = parse(&"a: 1\n".repeat(MAX_EVENTS));
        assert!(faults.len() <= fault::FAULTS_MAX + 1);
    }

    #[test]
    fn an_alias_of_nothing_is_told_as_what_it_is() {
        let (_, faults) = parse("a: *nothing\n");
        assert!(faults[0].mend.contains("write the value out"), "{faults:?}");
    }

    #[test]
    fn a_character_that_cannot_be_printed_is_told_with_its_place() {
        for (text, at) in [("\0a: 1", (1, 1)), ("a: 1\rb: \0x", (2, 4)), ("a: 1\r\né: \0", (2, 4))] {
            let (_, faults) = parse(text);
            let fault = faults.last().unwrap();
            assert_eq!((fault.at.line, fault.at.column), at, "{text:?} {faults:?}");
            assert!(fault.what.contains("unprintable") && fault.mend.starts_with("remove"), "{fault:?}");
        }
    }
}
