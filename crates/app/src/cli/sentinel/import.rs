//! `coalmine sentinel import`: a suite made of recorded sessions. The conversations that come most often become tests;
//! what was answered becomes an assertion that somebody has to confirm before a release takes it.

mod recorded;
mod written;

use crate::cli::args::SentinelImportArgs;
use crate::cli::{Exit, say};
use anyhow::{Context, Result, bail};
use coalmine_wire::probe::Message;
use recorded::{Line, Recorded};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::path::Path;

/// The longest line that is read, in bytes.
const LINE_MAX_BYTES: u64 = 4 << 20;
/// Conversations that are told apart; those that come first afterwards are counted and left out.
const CONVERSATIONS_MAX: usize = 100_000;
/// Answers of one conversation that are told apart.
const ANSWERS_MAX: usize = 50;

/// What was read.
#[derive(Debug, Default)]
struct Sessions {
    by_conversation: BTreeMap<Vec<(String, String)>, Asked>,
    lines: usize,
    /// Lines that hold no conversation with an answer.
    unread: usize,
    /// The first of them, and why.
    first_unread: Option<(usize, &'static str)>,
    /// Sessions for whose conversation there was no room.
    dropped: usize,
}

/// One conversation.
#[derive(Debug, Default, Clone)]
struct Asked {
    count: usize,
    first_line: usize,
    answers: BTreeMap<Recorded, usize>,
}

/// A conversation with the answer that was given most often.
#[derive(Debug, Clone)]
struct Top {
    messages: Vec<Message>,
    answer: Recorded,
    /// Sessions with this conversation, and with this answer.
    count: usize,
    agreed: usize,
    /// Answers that differ.
    answers: usize,
}

/// Makes the suite.
///
/// # Errors
/// When a file cannot be read, holds no session, or the suite is there already.
pub(super) fn run(args: &SentinelImportArgs) -> Result<Exit> {
    let mut sessions = Sessions::default();
    for file in &args.files {
        let read = File::open(file).with_context(|| format!("reading {}", file.display()))?;
        sessions.read(read).with_context(|| format!("reading {}", file.display()))?;
    }
    let top = sessions.top(args.top, args.least);
    if top.is_empty() {
        let why = sessions.first_unread.map_or(String::new(), |(line, why)| format!("; line {line}: {why}"));
        bail!(
            "none of {} lines makes a test{why}; each must be a JSON object with `messages` that end in an answer, with `request` and `response`, or with `prompt` and `output`, and come at least {} times",
            sessions.lines,
            args.least
        );
    }
    let text = written::suite(&top, &named(&args.files));
    match &args.out {
        Some(out) => {
            let made = File::create_new(out);
            let mut made = made.with_context(|| format!("making {}, which must not be there yet", out.display()))?;
            made.write_all(text.as_bytes()).with_context(|| format!("writing {}", out.display()))?;
            say(&told(&sessions, &top, out));
        }
        None => say(&text),
    }
    Ok(Exit::Done)
}

fn named(files: &[std::path::PathBuf]) -> String {
    let names = files.iter().map(|file| file.file_name().unwrap_or_default().to_string_lossy().into_owned());
    names.collect::<Vec<_>>().join(", ")
}

fn told(sessions: &Sessions, top: &[Top], out: &Path) -> String {
    let Sessions { lines, unread, first_unread, dropped, .. } = sessions;
    let of: usize = top.iter().map(|one| one.count).sum();
    let mut text = format!("{}: {} tests, of {of} of {} sessions\n", out.display(), top.len(), lines - unread);
    if let Some((line, why)) = first_unread {
        text.push_str(&format!("  {unread} lines were left out; the first is line {line}: {why}\n"));
    }
    if *dropped > 0 {
        text.push_str(&format!(
            "  {dropped} sessions were left out: {CONVERSATIONS_MAX} conversations are told apart\n"
        ));
    }
    text.push_str("  no answer is confirmed yet: read each, mend what is asserted, and remove its `confirmed: no`\n");
    text
}

impl Sessions {
    fn read(&mut self, file: impl Read) -> Result<()> {
        let mut file = BufReader::new(file);
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = file.by_ref().take(LINE_MAX_BYTES).read_until(b'\n', &mut line)?;
            if read == 0 {
                return Ok(());
            }
            let is_whole = line.ends_with(b"\n") || (read as u64) < LINE_MAX_BYTES;
            if !is_whole {
                skip_line(&mut file)?;
            }
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            self.lines += 1;
            match if is_whole { recorded::read(&line) } else { Err("it is longer than 4 MiB") } {
                Ok(session) => self.add(session),
                Err(why) => {
                    self.unread += 1;
                    self.first_unread.get_or_insert((self.lines, why));
                }
            }
        }
    }

    fn add(&mut self, session: Line) {
        let key: Vec<(String, String)> = session.messages.into_iter().map(|m| (m.role, m.content)).collect();
        let line = self.lines;
        if !self.by_conversation.contains_key(&key) && self.by_conversation.len() >= CONVERSATIONS_MAX {
            self.dropped += 1;
            return;
        }
        let asked = self.by_conversation.entry(key).or_insert_with(|| Asked { first_line: line, ..Asked::default() });
        asked.count += 1;
        if asked.answers.len() < ANSWERS_MAX || asked.answers.contains_key(&session.answer) {
            *asked.answers.entry(session.answer).or_default() += 1;
        }
    }

    /// The conversations that come most often, at least so often; of equals the one that came first.
    fn top(&self, most: usize, least: usize) -> Vec<Top> {
        let mut all: Vec<_> = self.by_conversation.iter().filter(|(_, asked)| asked.count >= least).collect();
        all.sort_by_key(|(_, asked)| (std::cmp::Reverse(asked.count), asked.first_line));
        let top = |(key, asked): (&Vec<(String, String)>, &Asked)| {
            // Of answers given equally often the first by its text, so that a file gives one suite.
            let (answer, agreed) = asked.answers.iter().rev().max_by_key(|(_, count)| **count)?;
            let messages =
                key.iter().map(|(role, content)| Message { role: role.clone(), content: content.clone() }).collect();
            Some(Top {
                messages,
                answer: answer.clone(),
                count: asked.count,
                agreed: *agreed,
                answers: asked.answers.len(),
            })
        };
        all.into_iter().take(most).filter_map(top).collect()
    }
}

fn skip_line(file: &mut impl BufRead) -> std::io::Result<()> {
    loop {
        let (used, is_end) = {
            let buffer = file.fill_buf()?;
            match buffer.iter().position(|byte| *byte == b'\n') {
                Some(at) => (at + 1, true),
                None => (buffer.len(), buffer.is_empty()),
            }
        };
        file.consume(used);
        if is_end {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Machine;
    use crate::config::suite::{Purpose, parse_suite};
    use coalmine_wire::probe::{Answer, Around, Rulings, Verdict};
    use proptest::prelude::*;

    const LINES: &str = r#"{"scenario":"s","prompt":"Is 17 a prime? {{q}}","version":"a","output":"[Yes]"}
{"scenario":"s","prompt":"Is 17 a prime? {{q}}","version":"b","output":"[Yes]"}
{"scenario":"s","prompt":"Is 17 a prime? {{q}}","version":"b","output":"[No]"}
{"messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"Refund?"},{"role":"assistant","content":"You may return your shoes to any of our shops within 30 days, and the money is back on your card within a week."}]}
{"messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"Refund?"},{"role":"assistant","content":"You may return your shoes to any of our shops within 30 days, and the money is back on your card within a week."}]}
{"request":{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"Where is 8812?"}]}]},"response":{"choices":[{"finish_reason":"tool_calls","message":{"role":"assistant","content":null,"tool_calls":[{"id":"1","type":"function","function":{"name":"get_order","arguments":"{\"id\":\"8812\"}"}}]}}]}}
{"request":{"messages":[{"role":"user","content":"As JSON"}]},"response":{"choices":[{"message":{"content":"{\"a\": 1}"}}]}}
no json
{"prompt":"","output":"x"}
"#;

    fn sessions(text: &str) -> Sessions {
        let mut sessions = Sessions::default();
        sessions.read(text.as_bytes()).unwrap();
        sessions
    }

    #[test]
    fn the_most_frequent_conversations_become_a_suite_that_waits_to_be_confirmed() {
        let sessions = sessions(LINES);
        assert_eq!((sessions.lines, sessions.unread, sessions.first_unread), (9, 2, Some((8, "it is no JSON object"))));
        let text = written::suite(&sessions.top(10, 1), "recorded.jsonl");
        insta::assert_snapshot!("imported-suite", text);
        let suite = parse_suite(&text, Path::new("suite.yaml"), &Machine).unwrap();
        assert_eq!(suite.cases.len(), 4);
        assert_eq!(suite.unconfirmed().count(), 4);
        assert_eq!(suite.cases[0].probe.messages[0].content, "Is 17 a prime? {{q}}", "braces stay as they were");
        assert_eq!(suite.cases[1].probe.messages.len(), 2, "a system message stays one");
        assert_eq!(suite.sentinels(Purpose::Sentinels).len(), 4);
        // Each passes what was recorded, and none an empty answer.
        for (case, top) in suite.cases.iter().zip(sessions.top(10, 1)) {
            let judge = |answer: &Answer| case.probe.judge(answer, Around::default(), &Rulings::new()).verdict;
            assert_eq!(judge(&top.answer.as_answer()), Verdict::Passed, "{}", case.name);
            assert_eq!(judge(&Answer::default()), Verdict::Failed, "{}", case.name);
        }
    }

    #[test]
    fn rare_ones_and_those_beyond_the_number_are_left_out() {
        let sessions = sessions(LINES);
        assert_eq!(sessions.top(10, 2).len(), 2);
        let one = sessions.top(1, 1);
        assert_eq!((one.len(), one[0].count, one[0].agreed, one[0].answers), (1, 3, 2, 2));
        assert!(sessions.top(10, 4).is_empty());
    }

    proptest! {
        /// Whatever customers and models wrote, the suite is read back as it was meant.
        #[test]
        fn any_text_makes_a_suite_that_is_read(question in "\\PC{1,60}", answer in "\\PC{1,80}") {
            prop_assume!(!question.trim().is_empty() && !answer.trim().is_empty());
            let line = serde_json::json!({ "prompt": question, "output": answer }).to_string();
            let sessions = sessions(&line);
            let top = sessions.top(1, 1);
            let text = written::suite(&top, "f.jsonl");
            let suite = parse_suite(&text, Path::new("suite.yaml"), &Machine).unwrap_or_else(|e| panic!("{e}\n{text}"));
            prop_assert_eq!(&suite.cases[0].probe.messages[0].content, question.trim());
            let judged = suite.cases[0].probe.judge(&top[0].answer.as_answer(), Around::default(), &Rulings::new());
            prop_assert_eq!(judged.verdict, Verdict::Passed, "{}", text);
        }
    }
}
