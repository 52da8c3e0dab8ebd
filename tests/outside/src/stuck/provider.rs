//! A provider that gets stuck exactly as the model's name says, in the dialect that it is asked in; raw sockets, so that it
//! knows when it is let go.

use anyhow::Result;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// What it says where it says anything.
pub(super) const SAID: &str = "half of it";
const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

/// It breaks off where nobody takes more of its answer for so long,
const FULL: Duration = Duration::from_millis(150);
/// or at so many pieces,
const PIECES_MAX: usize = 8 << 10;
/// of this length.
const PIECE_BYTES: usize = 4_000;

/// By the model's name: how often it was asked, and how often it was let go.
#[derive(Debug, Default, Clone)]
pub(super) struct Seen(Arc<Mutex<BTreeMap<String, (u32, u32)>>>, Arc<Mutex<Vec<usize>>>);

impl Seen {
    /// How often it was asked for this model, and how often the gateway closed the connection on it.
    pub(super) fn of(&self, model: &str) -> (u32, u32) {
        self.0.lock().map(|seen| seen.get(model).copied().unwrap_or_default()).unwrap_or_default()
    }

    /// How many pieces were said each time that it broke off because nobody took more, by number.
    pub(super) fn said(&self) -> Vec<usize> {
        let mut said = self.1.lock().map(|said| said.clone()).unwrap_or_default();
        said.sort_unstable();
        said
    }

    fn note(&self, model: &str, note: impl FnOnce(&mut (u32, u32))) -> u32 {
        let Ok(mut seen) = self.0.lock() else { return 0 };
        let counts = seen.entry(model.to_owned()).or_default();
        note(counts);
        counts.0
    }
}

/// How it speaks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dialect {
    Chat,
    Messages,
}

/// Starts it on a free port; it lives as long as the runtime.
pub(super) async fn spawn() -> Result<(u16, Seen)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let seen = Seen::default();
    let told = seen.clone();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let seen = told.clone();
            // it ends with its connection
            tokio::spawn(async move { serve(socket, &seen).await.unwrap_or_default() });
        }
    });
    Ok((port, seen))
}

async fn serve(mut socket: TcpStream, seen: &Seen) -> std::io::Result<()> {
    socket.set_nodelay(true)?;
    let mut came = Vec::new();
    while let Some((path, asked)) = request(&mut socket, &mut came).await? {
        let dialect = if path.ends_with("/messages") { Dialect::Messages } else { Dialect::Chat };
        let model = asked["model"].as_str().unwrap_or_default().to_owned();
        let times = seen.note(&model, |counts| counts.0 += 1);
        let stream = asked["stream"] == true;
        let (opened, piece, last) = events(dialect);
        let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
        let said = opened.clone() + &piece;
        let whole = if stream {
            HEAD.to_owned() + &chunk(&(said.clone() + &last)) + "0\r\n\r\n"
        } else {
            let body = body(dialect);
            format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len())
        };
        let sign =
            if dialect == Dialect::Messages { "event: ping\ndata: {\"type\":\"ping\"}\n\n" } else { ": ping\n\n" };
        let (first, sign) = match model.as_str() {
            "no-head" => (String::new(), None),
            "head-only" => (HEAD.to_owned(), None),
            "only-pings" => (HEAD.to_owned() + &chunk(&opened), Some(chunk(sign))),
            "stalls" => (HEAD.to_owned() + &chunk(&said), None),
            "stalls-with-pings" => (HEAD.to_owned() + &chunk(&said), Some(chunk(sign))),
            "stalls-inside" => (HEAD.to_owned() + &chunk(&(said + &piece[..piece.len() / 2])), None),
            "half-body" => (whole[..whole.len() - 9].to_owned(), None),
            // the connection breaks
            "breaks" => {
                socket.write_all((HEAD.to_owned() + &chunk(&said)).as_bytes()).await?;
                return Ok(());
            }
            "breaks-when-full" => {
                socket.write_all((HEAD.to_owned() + &chunk(&opened)).as_bytes()).await?;
                let pieces = fill(&mut socket, dialect).await?;
                seen.1.lock().map(|mut said| said.push(pieces)).unwrap_or_default();
                return Ok(());
            }
            "breaks-once" if times == 1 => return Ok(()),
            _ => {
                socket.write_all(whole.as_bytes()).await?;
                continue;
            }
        };
        socket.write_all(first.as_bytes()).await?;
        until_let_go(&mut socket, sign.as_deref()).await;
        seen.note(&model, |counts| counts.1 += 1);
        return Ok(());
    }
    Ok(())
}

/// Says numbered pieces until nobody takes more, and ends with a whole one; how many.
async fn fill(socket: &mut TcpStream, dialect: Dialect) -> std::io::Result<usize> {
    for number in 1..=PIECES_MAX {
        let piece = piece(dialect, &format!("{SAID}, {number}: {}", "x".repeat(PIECE_BYTES)));
        let chunk = format!("{:x}\r\n{piece}\r\n", piece.len());
        let mut rest = chunk.as_bytes();
        while !rest.is_empty() {
            let Ok(written) = timeout(FULL, socket.write(rest)).await else {
                // it is taken once somebody reads
                socket.write_all(rest).await?;
                return Ok(number);
            };
            rest = &rest[written?..];
        }
    }
    Ok(PIECES_MAX)
}

/// Says `sign` again and again, if there is one, until the other side closes.
async fn until_let_go(socket: &mut TcpStream, sign: Option<&str>) {
    let mut rest = [0; 64];
    loop {
        tokio::select! {
            read = socket.read(&mut rest) => if !matches!(read, Ok(count) if count > 0) { return },
            () = tokio::time::sleep(Duration::from_millis(20)), if sign.is_some() => {
                if socket.write_all(sign.unwrap_or_default().as_bytes()).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// The next request on a connection: its path and its body.
async fn request(socket: &mut TcpStream, came: &mut Vec<u8>) -> std::io::Result<Option<(String, Value)>> {
    let mut piece = [0; 8_192];
    loop {
        if let Some(end) = came.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&came[..end]).into_owned();
            let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
            let length = head.lines().filter_map(|line| line.split_once(':'));
            let length = length.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
            let length: usize = length.filter_map(|(_, value)| value.trim().parse().ok()).next().unwrap_or(0);
            if came.len() >= end + 4 + length {
                let body = serde_json::from_slice(&came[end + 4..end + 4 + length]).unwrap_or_default();
                came.drain(..end + 4 + length);
                return Ok(Some((path, body)));
            }
        }
        let count = socket.read(&mut piece).await?;
        if count == 0 {
            return Ok(None);
        }
        came.extend_from_slice(&piece[..count]);
    }
}

/// What a stream begins with, a piece of its text, and how it ends.
fn events(dialect: Dialect) -> (String, String, String) {
    match dialect {
        Dialect::Chat => (
            chat(r#"{"role":"assistant","content":""}"#, "null"),
            piece(dialect, SAID),
            chat("{}", "\"stop\"") + "data: [DONE]\n\n",
        ),
        Dialect::Messages => (
            talk(
                "message_start",
                r#","message":{"id":"m","type":"message","role":"assistant","model":"m","content":[],"stop_reason":null,"usage":{"input_tokens":9,"output_tokens":1}}"#,
            ) + &talk("content_block_start", r#","index":0,"content_block":{"type":"text","text":""}"#),
            piece(dialect, SAID),
            talk("content_block_stop", r#","index":0"#)
                + &talk("message_delta", r#","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":5}"#)
                + &talk("message_stop", ""),
        ),
    }
}

/// A piece of a stream's text.
fn piece(dialect: Dialect, text: &str) -> String {
    match dialect {
        Dialect::Chat => chat(&format!(r#"{{"content":"{text}"}}"#), "null"),
        Dialect::Messages => {
            talk("content_block_delta", &format!(r#","index":0,"delta":{{"type":"text_delta","text":"{text}"}}"#))
        }
    }
}

fn chat(delta: &str, reason: &str) -> String {
    format!(
        "data: {{\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{{\"index\":0,\"delta\":{delta},\"finish_reason\":{reason}}}]}}\n\n"
    )
}

fn talk(kind: &str, more: &str) -> String {
    format!("event: {kind}\ndata: {{\"type\":\"{kind}\"{more}}}\n\n")
}

/// The same as one body.
fn body(dialect: Dialect) -> String {
    match dialect {
        Dialect::Chat => format!(
            r#"{{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{{"index":0,"message":{{"role":"assistant","content":"{SAID}"}},"finish_reason":"stop"}}],"usage":{{"prompt_tokens":9,"completion_tokens":5,"total_tokens":14}}}}"#
        ),
        Dialect::Messages => format!(
            r#"{{"id":"m","type":"message","role":"assistant","model":"m","content":[{{"type":"text","text":"{SAID}"}}],"stop_reason":"end_turn","usage":{{"input_tokens":9,"output_tokens":5}}}}"#
        ),
    }
}
