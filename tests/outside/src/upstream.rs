//! An OpenAI-compatible upstream of known behaviour: it says in its answer who it is, and fails,
//! delays or refuses exactly as told by the model's name.

use anyhow::Result;
use bytes::Bytes;
use clap::Args as ClapArgs;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;

/// Arguments of `outside upstream`.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// Where to listen on 127.0.0.1.
    #[arg(long, default_value_t = 9_101)]
    port: u16,
    /// The name that it answers with.
    #[arg(long, default_value = "upstream")]
    name: String,
}

/// Runs until killed.
pub(crate) async fn run(args: Args) -> Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", args.port)).await?;
    let answer = completing(named(Arc::new(Mutex::new(args.name))));
    serve(listener, Arc::new(move |_: &HeaderMap, asked: &Value| answer(asked))).await
}

/// Starts one on a free port; it lives as long as the runtime.
pub(crate) async fn spawn(name: &str) -> Result<SocketAddr> {
    spawn_changing(Arc::new(Mutex::new(name.to_owned()))).await
}

/// The same, under a name that its owner may change.
pub(crate) async fn spawn_changing(name: Arc<Mutex<String>>) -> Result<SocketAddr> {
    spawn_saying(named(name)).await
}

/// One that says what a closure makes of each request.
pub(crate) async fn spawn_saying(
    say: impl Fn(&Value) -> (StatusCode, String) + Send + Sync + 'static,
) -> Result<SocketAddr> {
    spawn_answering(completing(say)).await
}

/// One that answers with the document that a closure makes of each request.
pub(crate) async fn spawn_answering(
    answer: impl Fn(&Value) -> (StatusCode, Value) + Send + Sync + 'static,
) -> Result<SocketAddr> {
    spawn_hearing(move |_, asked| answer(asked)).await
}

/// The same, where the headers of the request are heard too.
pub(crate) async fn spawn_hearing(
    answer: impl Fn(&HeaderMap, &Value) -> (StatusCode, Value) + Send + Sync + 'static,
) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(serve(listener, Arc::new(answer)));
    Ok(address)
}

/// What is said, as a chat completion.
pub(crate) fn completing(
    say: impl Fn(&Value) -> (StatusCode, String) + Send + Sync + 'static,
) -> impl Fn(&Value) -> (StatusCode, Value) + Send + Sync + 'static {
    move |asked| {
        let (status, content) = say(asked);
        let turns = turns(asked).max(1);
        let said = json!({
            "id": "chatcmpl-outside", "object": "chat.completion", "created": 0, "model": asked["model"],
            "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "refusal": null,
                "content": content}}],
            "usage": {"prompt_tokens": 10 * turns, "completion_tokens": 6, "total_tokens": 10 * turns + 6},
        });
        (status, said)
    }
}

fn named(name: Arc<Mutex<String>>) -> impl Fn(&Value) -> (StatusCode, String) + Send + Sync + 'static {
    move |asked| {
        let name = name.lock().map(|name| name.clone()).unwrap_or_default();
        (StatusCode::OK, format!("{name} answers message {}", turns(asked)))
    }
}

fn turns(asked: &Value) -> usize {
    asked["messages"].as_array().map_or(0, Vec::len)
}

async fn serve<F>(listener: TcpListener, say: Arc<F>) -> Result<()>
where
    F: Fn(&HeaderMap, &Value) -> (StatusCode, Value) + Send + Sync + 'static,
{
    accept(listener, move |request| answer(request, Arc::clone(&say))).await
}

/// Answers whoever comes, each connection by itself.
pub(crate) async fn accept<A, W, B>(listener: TcpListener, answer: A) -> Result<()>
where
    A: Fn(Request<Incoming>) -> W + Clone + Send + 'static,
    W: Future<Output = Result<Response<B>, Infallible>> + Send + 'static,
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
{
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let service = service_fn(answer.clone());
        // it ends with its connection
        tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service));
    }
}

async fn answer<F>(request: Request<Incoming>, say: Arc<F>) -> Result<Response<Full<Bytes>>, Infallible>
where
    F: Fn(&HeaderMap, &Value) -> (StatusCode, Value) + Send + Sync + 'static,
{
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
    let (status, said) = say(&parts.headers, &asked);
    let mut response = Response::new(Full::new(Bytes::from(said.to_string())));
    *response.status_mut() = status;
    response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    Ok(response)
}
