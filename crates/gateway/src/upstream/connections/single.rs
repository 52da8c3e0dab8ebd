//! A connection of HTTP/1.1: one request at a time. It has no task of its own. Whoever waits for its answer drives it, so
//! that nobody is woken in between; while it is idle nobody does, and that it was closed is seen when it is next used.

use super::body::ProviderBody;
use super::dial::Bare;
use super::gate::Gate;
use super::shard::Shard;
use super::{Failed, Host};
use crate::upstream::asked::{Asked, AskedBody};
use bytes::Bytes;
use http::Response;
use http_body::{Body as _, Frame};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Connection, SendRequest, handshake};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};

/// How often one poll goes on with a connection that wakes itself, before others have their turn.
const ROUNDS_MAX: usize = 8;
/// So many pieces of a body in a row, and whoever reads it has to look at its clock too.
const ROW_MAX: u8 = 16;

#[derive(Debug)]
pub(super) struct Single {
    send: SendRequest<AskedBody>,
    /// `None` once it has ended.
    wire: Option<Connection<Bare, AskedBody>>,
    gate: Arc<Gate>,
    /// The gate's.
    waker: Waker,
    home: Weak<Shard>,
    /// Pieces that came without a pause.
    row: u8,
}

impl Single {
    pub(super) async fn open(stream: Bare, home: &Arc<Shard>) -> Result<Box<Self>, hyper::Error> {
        let (send, wire) = handshake(stream).await?;
        let gate = Arc::new(Gate::default());
        let waker = Waker::from(gate.clone());
        Ok(Box::new(Self { send, wire: Some(wire), gate, waker, home: Arc::downgrade(home), row: 0 }))
    }

    /// Sends a request and waits for its answer's head. Dropping the future closes the connection.
    pub(super) async fn ask(
        mut self: Box<Self>,
        host: &Host,
        mut request: Asked,
    ) -> Result<Response<ProviderBody>, Failed> {
        host.dress(&mut request);
        let answered = {
            let mut answer = pin!(self.send.try_send_request(request));
            poll_fn(|cx| {
                self.gate.enter(cx.waker());
                self.poll_through(cx, |cx| answer.as_mut().poll(cx))
            })
            .await
        };
        match answered {
            Ok(response) => Ok(response.map(|incoming| ProviderBody::of_single(incoming, self))),
            Err(mut error) => Err(match error.take_message() {
                // its URI is without the host
                Some(request) => Failed::Undone(Box::new(host.undress(request)), error.into_error()),
                None => Failed::Lost(error.into_error()),
            }),
        }
    }

    /// The next of a body that comes over it.
    pub(super) fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        body: &mut Incoming,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if self.row == ROW_MAX {
            self.row = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let polled = self.poll_piece(cx, body);
        self.row = if polled.is_ready() { self.row + 1 } else { 0 };
        polled
    }

    fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
        body: &mut Incoming,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.gate.enter(cx.waker());
        // what has come is taken before more is read
        if let Poll::Ready(frame) = Pin::new(&mut *body).poll_frame(&mut Context::from_waker(&self.waker)) {
            self.gate.leave();
            return Poll::Ready(frame);
        }
        self.poll_through(cx, |cx| Pin::new(&mut *body).poll_frame(cx))
    }

    /// Drives the connection, and takes what it brings. The gate was entered.
    fn poll_through<T>(&mut self, cx: &mut Context<'_>, mut take: impl FnMut(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
        for _ in 0..ROUNDS_MAX {
            self.drive();
            if let Poll::Ready(taken) = take(&mut Context::from_waker(&self.waker)) {
                self.gate.leave();
                return Poll::Ready(taken);
            }
            if !self.gate.leave() {
                return Poll::Pending;
            }
            self.gate.again();
        }
        self.gate.leave();
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn drive(&mut self) {
        if let Some(wire) = &mut self.wire
            && Pin::new(wire).poll(&mut Context::from_waker(&self.waker)).is_ready()
        {
            // whoever waits for something is told by this
            self.wire = None;
        }
    }

    /// An answer is over: the connection is for others, if it can be.
    pub(super) fn release(mut self: Box<Self>) {
        self.row = 0;
        self.gate.forget();
        if !self.send.is_ready() {
            // it has not seen yet that the answer was the whole of it
            self.drive();
        }
        if self.is_idle()
            && let Some(home) = self.home.upgrade()
        {
            home.keep(self);
        }
    }

    /// Of an idle one: whether its server has left it open.
    pub(super) fn is_open(&mut self) -> bool {
        self.drive();
        self.is_idle()
    }

    fn is_idle(&self) -> bool {
        self.wire.is_some() && self.send.is_ready()
    }
}
