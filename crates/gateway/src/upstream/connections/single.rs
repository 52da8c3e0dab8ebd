//! A connection of HTTP/1.1: one request at a time. It has no task of its own. Whoever waits for its answer drives it, so
//! that nobody is woken in between; while it is idle nobody does, and that it was closed is seen when it is next used.
//!
//! It keeps no memory for reading. What comes is read into the thread's, and what of it is the answer is copied out.

use super::body::ProviderBody;
use super::dial::Bare;
use super::head::{self, Head, NoHead, Then};
use super::outgoing::{Outgoing, Stopped};
use super::rest::{Misframed, Rest};
use super::shard::Shard;
use super::{Failed, HEAD_BYTES_MAX, Host, Lost};
use crate::upstream::asked::Asked;
use crate::upstream::under_way::UnderWay;
use bytes::Bytes;
use http::{Method, Response, StatusCode};
use http_body::Frame;
use hyper::rt::{Read, ReadBuf};
use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker, ready};

/// So much is read at once.
const READ_BYTES: usize = 32 << 10;
/// So much of a body in a row, and whoever reads it has to look at its clock, and others on its thread have their turn.
const ROW_BYTES_MAX: usize = 64 << 10;
/// A small piece costs as much as so many bytes.
const PIECE_BYTES: usize = 4 << 10;
/// So much of an answer that nobody reads is looked for, to keep its connection.
const UNREAD_PIECES: usize = 4;

thread_local! {
    static ROOM: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
}

#[derive(Debug)]
pub(super) struct Single {
    wire: Bare,
    home: Weak<Shard>,
    out: Outgoing,
    /// The beginning of an answer's head whose end has not come.
    begun: Vec<u8>,
    /// So much has come of the heads of the present answer.
    heads_bytes: usize,
    /// What came of the body with the head.
    first: Bytes,
    rest: Rest,
    then: Then,
    /// Bytes that came without a pause.
    row: usize,
}

impl Single {
    pub(super) fn new(wire: Bare, home: &Arc<Shard>) -> Box<Self> {
        Box::new(Self {
            wire,
            home: Arc::downgrade(home),
            out: Outgoing::none(),
            begun: Vec::new(),
            heads_bytes: 0,
            first: Bytes::new(),
            rest: Rest::NOTHING,
            then: Then::Kept,
            row: 0,
        })
    }

    /// Sends a request and waits for its answer's head. Dropping the future closes the connection.
    pub(super) async fn ask(
        mut self: Box<Self>,
        host: &Host,
        mut request: Asked,
        under_way: &UnderWay,
    ) -> Result<Response<ProviderBody>, Failed> {
        if !self.is_open() {
            return Err(Failed::Undone(request, Lost::Closed));
        }
        let body = std::mem::take(request.body_mut());
        self.out = Outgoing::new(&request, &host.name, body);
        self.heads_bytes = 0;
        let mut went_out = false;
        let headed = poll_fn(|cx| {
            let polled = self.poll_head(request.method(), cx);
            if !went_out && self.out.is_done() {
                went_out = true;
                under_way.went_out();
            }
            polled
        });
        let headed = headed.await;
        if went_out && headed.is_err() {
            under_way.came_back();
        }
        match headed {
            Ok(Head { status, headers, rest, then }) => {
                (self.rest, self.then) = (rest, then);
                let mut response = Response::new(ProviderBody::of_single(self));
                (*response.status_mut(), *response.headers_mut()) = (status, headers);
                Ok(response)
            }
            Err(lost) if self.out.is_untouched() => {
                *request.body_mut() = self.out.take_body();
                Err(Failed::Undone(request, lost))
            }
            Err(lost) => Err(Failed::Lost(lost)),
        }
    }

    fn poll_head(&mut self, asked: &Method, cx: &mut Context<'_>) -> Poll<Result<Head, Lost>> {
        match self.out.poll(&mut self.wire, cx) {
            Poll::Ready(Err(Stopped::Length)) => return Poll::Ready(Err(Lost::Asked)),
            Poll::Ready(Err(Stopped::Wire(error))) if self.out.is_untouched() => {
                return Poll::Ready(Err(Lost::Wire(error)));
            }
            // a server that takes no more of a request may have said why
            Poll::Ready(Ok(()) | Err(Stopped::Wire(_))) | Poll::Pending => {}
        }
        loop {
            let begun = &mut self.begun;
            let (length, read) = ready!(poll_read(&mut self.wire, cx, |came| (came.len(), heads(begun, came, asked))))?;
            if length == 0 {
                return Poll::Ready(Err(Lost::CutShort));
            }
            if let Some((head, first)) = read? {
                self.first = first;
                return Poll::Ready(Ok(head));
            }
            self.heads_bytes += length;
            if self.heads_bytes > HEAD_BYTES_MAX {
                return Poll::Ready(Err(NoHead::Long.into()));
            }
        }
    }

    /// The next of an answer's body.
    pub(super) fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Lost>>> {
        if self.row >= ROW_BYTES_MAX {
            self.row = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let polled = self.poll_piece(cx);
        self.row = match &polled {
            Poll::Ready(Ok(Some(piece))) => self.row + piece.len().max(PIECE_BYTES),
            Poll::Ready(_) | Poll::Pending => 0,
        };
        polled.map(|read| read.transpose().map(|piece| piece.map(Frame::data)))
    }

    /// `None` where it is over.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Lost>> {
        if !self.first.is_empty() {
            return Poll::Ready(Ok(Some(std::mem::take(&mut self.first))));
        }
        // whether or not its server takes more of the request, it has begun to answer
        let _ = self.out.poll(&mut self.wire, cx);
        while !self.rest.is_over() {
            let rest = &mut self.rest;
            let (length, read) = ready!(poll_read(&mut self.wire, cx, |came| (came.len(), body(rest, came))))?;
            if length == 0 && self.rest != Rest::UntilClosed {
                return Poll::Ready(Err(Lost::CutShort));
            }
            if length == 0 {
                self.rest = Rest::NOTHING;
            }
            let (piece, of_it) = read?;
            if of_it < length {
                self.then = Then::Closed;
            }
            if !piece.is_empty() {
                return Poll::Ready(Ok(Some(piece)));
            }
        }
        Poll::Ready(Ok(None))
    }

    /// Whether all of the answer was read.
    pub(super) fn is_over(&self) -> bool {
        self.first.is_empty() && self.rest.is_over()
    }

    /// How many bytes of the answer are yet to be read, where that is known.
    pub(super) fn left(&self) -> Option<u64> {
        self.rest.left().map(|left| left + self.first.len() as u64)
    }

    /// An answer is over, or nobody reads on: the connection is for others, if it can be.
    pub(super) fn release(mut self: Box<Self>) {
        if self.then == Then::Closed || !self.out.is_done() {
            return;
        }
        self.row = 0;
        for _ in 0..UNREAD_PIECES {
            if self.is_over() {
                break;
            }
            let polled = self.poll_piece(&mut Context::from_waker(Waker::noop()));
            if !matches!(polled, Poll::Ready(Ok(_))) {
                return;
            }
        }
        if self.is_over()
            && self.then == Then::Kept
            && self.is_open()
            && let Some(home) = self.home.upgrade()
        {
            home.keep(self);
        }
    }

    /// Of one that nobody waits for: whether its server has left it open. It lets go of the task that used it last.
    pub(super) fn is_open(&mut self) -> bool {
        // whatever comes now answers nothing
        poll_read(&mut self.wire, &mut Context::from_waker(Waker::noop()), |_| ()).is_pending()
    }
}

/// Reads what has come; nothing has where the connection is closed.
fn poll_read<T>(wire: &mut Bare, cx: &mut Context<'_>, take: impl FnOnce(&[u8]) -> T) -> Poll<io::Result<T>> {
    ROOM.with_borrow_mut(|room| {
        let mut read = ReadBuf::new(room);
        ready!(Pin::new(wire).poll_read(cx, read.unfilled()))?;
        Poll::Ready(Ok(take(read.filled())))
    })
}

/// The head of an answer, and what came of its body with it, if all of the head has come. What only tells that one will
/// come is passed over.
pub(super) fn heads(begun: &mut Vec<u8>, came: &[u8], asked: &Method) -> Result<Option<(Head, Bytes)>, Lost> {
    let all = std::mem::take(begun);
    let mut bytes = came;
    let joined;
    if !all.is_empty() {
        joined = [&all, came].concat();
        bytes = &joined;
    }
    while let Some((mut head, length)) = head::read(bytes, asked)? {
        bytes = &bytes[length..];
        if head.status.is_informational() && head.status != StatusCode::SWITCHING_PROTOCOLS {
            continue;
        }
        let (first, of_it) = body(&mut head.rest, bytes)?;
        if of_it < bytes.len() {
            head.then = Then::Closed;
        }
        return Ok(Some((head, first)));
    }
    *begun = bytes.to_vec();
    Ok(None)
}

/// What of that which came is the answer, and how much of it belongs to the answer.
pub(super) fn body(rest: &mut Rest, came: &[u8]) -> Result<(Bytes, usize), Misframed> {
    let (mut one, mut many): (&[u8], _) = (&[], Vec::new());
    let of_it = rest.take(came, |piece| {
        if one.is_empty() {
            one = piece;
            return;
        }
        if many.is_empty() {
            many.reserve(came.len());
            many.extend_from_slice(one);
        }
        many.extend_from_slice(piece);
    })?;
    Ok((if many.is_empty() { Bytes::copy_from_slice(one) } else { many.into() }, of_it))
}
