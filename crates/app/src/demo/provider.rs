//! A simulated provider: OpenAI chat completions, streamed or not, with tools, behaving as its truth says.

use super::truth::truth_of;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;

const BODY_BYTES_MAX: usize = 4 << 20;
const REFUSAL: &str = "I'm sorry, but I can't help with that request.";
const ANSWER: &str = "Of course. I have looked it up for you, and everything is in order.";

/// A provider that lives as long as the runtime it was started on.
#[derive(Debug)]
pub(super) struct Provider {
    /// Where it listens.
    pub(super) address: SocketAddr,
}

/// What one answer is.
enum Said {
    Failure,
    Refusal,
    Call { arguments: &'static str },
    Text,
}

impl Provider {
    /// Starts one on a free port of the loopback address.
    ///
    /// # Errors
    /// When no port can be had.
    pub(super) async fn start(seed: u64) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let draw = Arc::new(Mutex::new(StdRng::seed_from_u64(seed)));
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let draw = Arc::clone(&draw);
                let _ = socket.set_nodelay(true);
                tokio::spawn(async move {
                    let service = service_fn(move |request| answer(request, Arc::clone(&draw)));
                    let connection = hyper::server::conn::http1::Builder::new();
                    let _ = connection.serve_connection(TokioIo::new(socket), service).await;
                });
            }
        });
        Ok(Self { address })
    }
}

async fn answer(request: Request<Incoming>, draw: Arc<Mutex<StdRng>>) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = Limited::new(request.into_body(), BODY_BYTES_MAX).collect().await;
    let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
    let said = match draw.lock() {
        Ok(mut draw) => say(&asked, &mut draw),
        Err(_) => Said::Failure,
    };
    Ok(response(&asked, &said))
}

/// A first question with tools is answered by a call, everything else by text.
fn say(asked: &Value, draw: &mut StdRng) -> Said {
    let truth = truth_of(asked["model"].as_str().unwrap_or_default());
    if draw.random_bool(truth.fails) {
        return Said::Failure;
    }
    if draw.random_bool(truth.refuses) {
        return Said::Refusal;
    }
    let last_is_user = asked["messages"].as_array().and_then(|m| m.last()).is_some_and(|m| m["role"] == "user");
    if last_is_user && asked["tools"].is_array() {
        let wrong = draw.random_bool(truth.calls_wrongly);
        return Said::Call { arguments: if wrong { r#"{"order":12}"# } else { r#"{"order_id":"A-12"}"# } };
    }
    Said::Text
}

fn response(asked: &Value, said: &Said) -> Response<Full<Bytes>> {
    let model = asked["model"].as_str().unwrap_or("parrot");
    let (message, finish) = match said {
        Said::Failure => {
            let error = json!({"error": {"message": "the model is overloaded with feathers", "type": "server_error", "code": null, "param": null}});
            return typed(StatusCode::INTERNAL_SERVER_ERROR, "application/json", error.to_string());
        }
        Said::Refusal => (json!({"role": "assistant", "content": REFUSAL, "refusal": null}), "stop"),
        Said::Text => (json!({"role": "assistant", "content": ANSWER, "refusal": null}), "stop"),
        Said::Call { arguments } => {
            let call = json!({"id": "call_1", "type": "function", "function": {"name": "look_up_order", "arguments": arguments}});
            (json!({"role": "assistant", "content": null, "refusal": null, "tool_calls": [call]}), "tool_calls")
        }
    };
    let input = 20 + 12 * asked["messages"].as_array().map_or(0, Vec::len);
    let usage = json!({"prompt_tokens": input, "completion_tokens": 18, "total_tokens": input + 18});
    if asked["stream"] == true {
        return typed(StatusCode::OK, "text/event-stream", streamed(asked, model, message, finish, &usage));
    }
    let whole = json!({"id": "chatcmpl-demo", "object": "chat.completion", "created": 0, "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": finish, "logprobs": null}], "usage": usage});
    typed(StatusCode::OK, "application/json", whole.to_string())
}

fn streamed(asked: &Value, model: &str, message: Value, finish: &str, usage: &Value) -> String {
    let chunk = |choices: Value| json!({"id": "chatcmpl-demo", "object": "chat.completion.chunk", "created": 0, "model": model, "choices": choices});
    let mut delta = message;
    if let Some(calls) = delta["tool_calls"].as_array_mut() {
        for (index, call) in calls.iter_mut().enumerate() {
            call["index"] = json!(index);
        }
    }
    let mut events = vec![
        chunk(json!([{"index": 0, "delta": delta, "finish_reason": null}])),
        chunk(json!([{"index": 0, "delta": {}, "finish_reason": finish}])),
    ];
    if asked["stream_options"]["include_usage"] == true {
        let mut last = chunk(json!([]));
        last["usage"] = usage.clone();
        events.push(last);
    }
    let mut text: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
    text.push_str("data: [DONE]\n\n");
    text
}

fn typed(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
