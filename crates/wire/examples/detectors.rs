//! What the detectors cost: `cargo run --release -p coalmine-wire --example detectors`.
//!
//! Streams are read by the observer with the detectors off and on, in turns, five rounds of each. A chunk is one event
//! of a stream. What is on may cost 15 % of what is off; the example fails where the median of the rounds is above that.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "an example that prints")]

use coalmine_wire::conversation::{Chain, Key};
use coalmine_wire::openai::{ChatRequest, Detect, Expect, Observer, Past};
use std::hint::black_box;
use std::process::ExitCode;
use std::sync::OnceLock;
use std::time::Instant;

const ROUNDS: usize = 5;
/// Blocks of both in one round, in turns, and passes over all streams in a block: long beside the clock's step.
const BLOCKS: usize = 20;
const PASSES: usize = 40;
const LIMIT: f64 = 0.15;
/// Recorded streams, as providers send them.
const RECORDED: [&str; 3] = [
    include_str!("../src/openai/tests/golden/text.sse"),
    include_str!("../src/openai/tests/golden/tools.sse"),
    include_str!("../src/openai/tests/golden/refusal-phrase.sse"),
];
const SAID: &str = "Your order left our house on Monday and is with the carrier. The parcel was scanned in Hanover last night, \
    so it should reach you by Thursday; if it does not, write to us again and we send another one at once. \
    You can follow it under the number that we have sent you by mail. Returns are free within thirty days, and the \
    label lies in the parcel. Is there anything else that you would like to know about it, or about another order?";

fn main() -> ExitCode {
    let body = r#"{"model":"m","stream":true,"messages":[{"role":"user","content":"Where is my order, and when will it be here? I have not heard of it for a week."}]}"#;
    let request = ChatRequest::read(body.as_bytes()).unwrap();
    let past = Past::read(&request);
    let key = Key::new(&[1; 32]);
    let chain = Chain::new(&key, b"route");
    let streams: Vec<String> = RECORDED.iter().map(|text| (*text).to_owned()).chain([long_answer()]).collect();
    let chunks: usize = streams.iter().map(|stream| stream.matches("\n\n").count()).sum();
    let block = |detect: &dyn Fn() -> Detect| {
        let before = cpu_seconds();
        for stream in (0..PASSES).flat_map(|_| &streams) {
            let conversation = Some(chain.follow(&request).answering());
            let expect = Expect { stream: true, conversation, detect: detect(), ..Expect::default() };
            let mut observer = Observer::new(expect);
            for event in stream.split_inclusive("\n\n") {
                black_box(observer.feed(black_box(event.as_bytes())));
            }
            black_box(observer.finish());
        }
        cpu_seconds() - before
    };
    let off = || Detect::Off;
    let on = || Detect::On { earlier: past.calls.clone(), asked_in: past.asked_in };
    block(&off);
    block(&on);
    let mut ratios = Vec::new();
    println!("{} streams of {chunks} chunks; {}; {ROUNDS} rounds", streams.len(), machine());
    for round in 1..=ROUNDS {
        let (mut without, mut with) = (0.0, 0.0);
        for _ in 0..BLOCKS {
            without += block(&off);
            with += block(&on);
        }
        let each = |seconds: f64| seconds * 1e9 / (BLOCKS * PASSES * chunks) as f64;
        let more = with / without - 1.0;
        println!("round {round}: off {:.0} ns, on {:.0} ns a chunk: {:+.1} %", each(without), each(with), more * 100.0);
        ratios.push(more);
    }
    ratios.sort_by(f64::total_cmp);
    let (median, least, most) = (ratios[ROUNDS / 2], ratios[0], ratios[ROUNDS - 1]);
    println!(
        "detectors: {:+.1} % CPU a chunk (median of {ROUNDS}; {:+.1} to {:+.1} %)",
        median * 100.0,
        least * 100.0,
        most * 100.0
    );
    if median > LIMIT {
        println!("that is more than {:.0} %", LIMIT * 100.0);
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// An answer of some 300 tokens, one of them in each chunk, with the members that providers send.
fn long_answer() -> String {
    let mut stream = String::new();
    let head = r#"data: {"id":"chatcmpl-B9MHDbslfkBeAs8l4bebGdFOJ6PeG","object":"chat.completion.chunk","created":1741570283,"model":"gpt-4.1-mini-2025-04-14","service_tier":"default","system_fingerprint":"fp_dbaca60df0","choices":[{"index":0,"delta":"#;
    for round in 0..4 {
        for word in SAID.split_inclusive(' ') {
            let word = if round == 0 { word.to_owned() } else { word.chars().rev().collect() };
            stream.push_str(&format!(
                "{head}{{\"content\":\"{word}\"}},\"logprobs\":null,\"finish_reason\":null}}],\"usage\":null}}\n\n"
            ));
        }
    }
    stream.push_str(&format!(
        "{head}{{}},\"logprobs\":null,\"finish_reason\":\"stop\"}}],\"usage\":null}}\n\ndata: [DONE]\n\n"
    ));
    stream
}

/// Seconds that this thread has run, whatever else the machine did; of the clock where the system does not tell.
fn cpu_seconds() -> f64 {
    static START: OnceLock<Instant> = OnceLock::new();
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let ran = told.and_then(|told| told.split_whitespace().next()?.parse::<f64>().ok());
    ran.map_or_else(|| START.get_or_init(Instant::now).elapsed().as_secs_f64(), |nanos| nanos / 1e9)
}

fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or("unknown", |(_, model)| model.trim());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{model}, {cores} cores, {}", std::env::consts::OS)
}
