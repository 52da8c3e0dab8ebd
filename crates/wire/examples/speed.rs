//! How long the hot path takes here: `cargo run --release -p coalmine-wire --example speed`.
//! A word behind `--` runs only the lines that have it. Every line is the best of 20 rounds, so that a busy machine disturbs it little.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "an example that prints")]

use bytes::Bytes;
use coalmine_wire::conversation::{Chain, Key};
use coalmine_wire::openai::{AskUsage, ChatRequest, Expect, Observer, Patch, PromptMode, UsageStripper};
use std::hint::black_box;
use std::time::Instant;

fn main() {
    let request = request(2048);
    let body = request.as_bytes();
    let read = ChatRequest::read(body).unwrap();
    let patch = Patch::default()
        .with_model("gpt-4.1-mini")
        .with_prompt(PromptMode::Append, "Answer in one sentence.")
        .unwrap()
        .with_param("temperature", "0.2")
        .unwrap();
    let key = Key::new(&[1; 32]);
    let chain = Chain::new(&key, b"route");
    println!("a request of {} bytes", body.len());
    time("read", 1, || {
        black_box(ChatRequest::read(black_box(body)).unwrap());
    });
    time("patch", 1, || {
        black_box(patch.apply(black_box(&read), AskUsage::Inject));
    });
    time("read and patch", 1, || {
        let read = ChatRequest::read(black_box(body)).unwrap();
        black_box(patch.apply(&read, AskUsage::Inject));
    });
    time("conversation hash", 1, || {
        black_box(chain.follow(black_box(&read)).continued);
    });
    let plain = plain_request();
    let once = ChatRequest::read(plain.as_bytes()).unwrap();
    time("conversation hash, no escapes", 1, || {
        black_box(chain.follow(black_box(&once)).asked());
    });
    time("serde_json tree, for comparison", 1, || {
        black_box(serde_json::from_slice::<serde_json::Value>(black_box(body)).unwrap());
    });

    let chunk = "data: {\"id\":\"chatcmpl-B9MHDbslfkBeAs8l4bebGdFOJ6PeG\",\"object\":\"chat.completion.chunk\",\"created\":1741570283,\"model\":\"gpt-4.1-mini-2025-04-14\",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_dbaca60df0\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" Hello\"},\"logprobs\":null,\"finish_reason\":null}],\"usage\":null,\"obfuscation\":\"k3Jd8s\"}\n\n";
    let bytes = Bytes::from_static(chunk.as_bytes());
    println!("a chunk of {} bytes", chunk.len());
    let mut observer = Observer::new(Expect { stream: true, ..Expect::default() });
    time("observe", 1, || {
        black_box(observer.feed(black_box(chunk.as_bytes())));
    });
    let conversation = Some(chain.follow(&read).answering());
    let mut observer = Observer::new(Expect { stream: true, conversation, ..Expect::default() });
    time("observe with conversation", 1, || {
        black_box(observer.feed(black_box(chunk.as_bytes())));
    });
    let mut stripper = UsageStripper::default();
    time("strip usage", 1, || {
        stripper.feed(bytes.clone(), |bytes| {
            black_box(bytes);
        });
    });
    let answer = chunk.repeat(100);
    time("a stream of 100 chunks, per chunk", 100, || {
        let mut observer = Observer::new(Expect { stream: true, ..Expect::default() });
        observer.feed(black_box(answer.as_bytes()));
        black_box(observer.finish());
    });
    let media = request_with_image(1 << 20);
    time("read 1 MiB of image", 1, || {
        black_box(ChatRequest::read(black_box(media.as_bytes())).unwrap());
    });
}

/// A request of about `size` bytes: system prompt, a few turns, parameters.
fn request(size: usize) -> String {
    let turn = |role: &str, text: &str| format!("{{\"role\":\"{role}\",\"content\":\"{text}\"}}");
    let text =
        "Could you have a look at order 4711?\\nIt has not arrived, and \\\"tracking\\\" says nothing. ".repeat(3);
    let mut messages = vec![turn("system", "You are a support agent of a parcel service. Be brief and kind. ")];
    while messages.iter().map(String::len).sum::<usize>() < size - 300 {
        messages.push(turn(if messages.len() % 2 == 1 { "user" } else { "assistant" }, &text));
    }
    format!(
        "{{\"model\":\"support-agent\",\"messages\":[{}],\"temperature\":1,\"max_completion_tokens\":500,\"stream\":true,\"metadata\":{{\"session_id\":\"s-123\"}},\"user\":\"u-42\"}}",
        messages.join(",")
    )
}

/// One question of 1.6 KB, no escapes in it.
fn plain_request() -> String {
    let text = "Explain what a canary release is and why a team would use one for language models. ".repeat(19);
    format!(
        "{{\"model\":\"m\",\"messages\":[{{\"role\":\"system\",\"content\":\"You are brief.\"}},{{\"role\":\"user\",\"content\":\"{text}\"}}],\"max_tokens\":256}}"
    )
}

fn request_with_image(size: usize) -> String {
    format!(
        "{{\"model\":\"m\",\"messages\":[{{\"role\":\"user\",\"content\":[{{\"type\":\"image_url\",\"image_url\":{{\"url\":\"data:image/png;base64,{}\"}}}}]}}]}}",
        "iVBORw0K".repeat(size / 8)
    )
}

fn time(what: &str, per: u32, mut run: impl FnMut()) {
    if std::env::args().nth(1).is_some_and(|word| !what.contains(&word)) {
        return;
    }
    let mut best = f64::INFINITY;
    for _ in 0..20 {
        let rounds = 2000 / per;
        let start = Instant::now();
        for _ in 0..rounds {
            run();
        }
        best = best.min(start.elapsed().as_secs_f64() * 1e9 / f64::from(rounds * per));
    }
    println!("{what:>36}: {best:>9.0} ns");
}
