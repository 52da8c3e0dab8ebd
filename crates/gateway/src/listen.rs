//! Accepts connections: HTTP/1.1 and cleartext HTTP/2, without Nagle's delay, bounded in number, with
//! bounded time for a request's head; ends them gently when the gateway drains.

use crate::answer::{AnswerBody, BoxError};
use crate::gateway::Gateway;
use crate::metrics::Metrics;
use crate::ports::Boxed;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// Answers what the gateway does not [own](Gateway::owns): the management API, health, metrics, pages.
pub type Side =
    Arc<dyn Fn(Request<Incoming>) -> Boxed<'static, Response<UnsyncBoxBody<Bytes, BoxError>>> + Send + Sync>;

/// Accepts until the gateway drains. Connections that are open then end after their present request.
pub async fn serve(gateway: Arc<Gateway>, listener: TcpListener, side: Side) {
    let room = Arc::new(Semaphore::new(gateway.config.limits.connections));
    loop {
        let drained = gateway.drained.notified();
        if gateway.is_draining() {
            return;
        }
        let accepted = async {
            let permit = room.clone().acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            accepted = accepted => accepted,
            () = drained => return,
        };
        match accepted {
            Ok((stream, _)) => {
                let (gateway, side) = (gateway.clone(), side.clone());
                tokio::spawn(async move {
                    let _held = permit;
                    connection(gateway, stream, side).await;
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Counts a connection for as long as it lives.
struct Counted(Arc<Metrics>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.connections.down();
    }
}

async fn connection(gateway: Arc<Gateway>, stream: TcpStream, side: Side) {
    gateway.metrics.connections.up();
    let _counted = Counted(gateway.metrics.clone());
    at_once(&stream);
    let drained = async {
        let notified = gateway.drained.notified();
        // a drain that began just before would not be told again
        if !gateway.is_draining() {
            notified.await;
        }
    };
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(gateway.config.limits.head_time);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(1_000).keep_alive_interval(Duration::from_mins(1));
    // boxed, so that a stream that goes on for minutes does not keep the memory of its beginning
    let service = service_fn(|request: Request<Incoming>| Box::pin(respond(gateway.clone(), side.clone(), request)));
    let serving = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = drained => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        // a client that leaves is no event of ours
        tracing::trace!(%error, "a connection ended");
    }
}

/// What is written goes out at once: with Nagle's delay a short answer would wait for the other side's
/// acknowledgement, 40 ms and more.
fn at_once(stream: &TcpStream) {
    // a connection that is gone already tells so when it is read
    let _ = stream.set_nodelay(true);
}

async fn respond(
    gateway: Arc<Gateway>,
    side: Side,
    request: Request<Incoming>,
) -> Result<Response<AnswerBody>, Infallible> {
    if Gateway::owns(request.uri().path()) {
        Ok(gateway.answer(request).await)
    } else {
        Ok(side(request).await.map(AnswerBody::Side))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn t34_a_connection_that_is_accepted_has_no_delay() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap());
        let (client, accepted) = tokio::join!(client, listener.accept());
        let (stream, _) = accepted.unwrap();
        at_once(&stream);
        assert!(stream.nodelay().unwrap());
        drop(client);
    }
}
