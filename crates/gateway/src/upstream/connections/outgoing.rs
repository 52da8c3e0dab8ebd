//! A request on its way out over a connection of HTTP/1.1 (RFC 9112, sections 3, 6 and 7).

use super::dial::Bare;
use crate::upstream::asked::AskedBody;
use bytes::{Buf, Bytes};
use http::{HeaderValue, Method, Request, header};
use http_body::Body as _;
use hyper::rt::Write;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// What of a request has not gone out.
#[derive(Debug)]
pub(super) struct Outgoing {
    /// The head, or what stands before a piece of the body.
    lead: Vec<u8>,
    /// So much of it has gone out.
    led: usize,
    piece: Bytes,
    /// What stands behind the piece.
    tail: &'static [u8],
    /// The pieces that follow, until there are none.
    body: Option<AskedBody>,
    framed: Framed,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framed {
    /// So many bytes are yet to come of it.
    Sized(u64),
    Chunks,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing of it has gone out.
    Untouched,
    UnderWay,
    /// All has gone out.
    Done,
    /// No more of it can.
    Broken,
}

/// Why no more of a request goes out.
#[derive(Debug)]
pub(super) enum Stopped {
    /// The connection takes nothing more.
    Wire(io::Error),
    /// Its body is not as long as was said.
    Length,
}

impl Outgoing {
    /// Of a connection that nothing was asked on.
    pub(super) const fn none() -> Self {
        Self {
            lead: Vec::new(),
            led: 0,
            piece: Bytes::new(),
            tail: b"",
            body: None,
            framed: Framed::Sized(0),
            state: State::Done,
        }
    }

    /// A request to a server of that name.
    pub(super) fn new<B>(request: &Request<B>, host: &HeaderValue, body: AskedBody) -> Self {
        let exact = body.size_hint().exact();
        let mut this = Self::none();
        this.lead = head(request, host, exact);
        this.framed = exact.map_or(Framed::Chunks, Framed::Sized);
        this.state = State::Untouched;
        match body {
            AskedBody::Whole(whole) => this.piece = whole,
            streams @ AskedBody::Streams(_) => this.body = Some(streams),
        }
        this
    }

    /// Whether nobody can have seen anything of it.
    pub(super) fn is_untouched(&self) -> bool {
        self.state == State::Untouched
    }

    /// Whether all has gone out.
    pub(super) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// The body of one that is untouched.
    pub(super) fn take_body(&mut self) -> AskedBody {
        self.body.take().unwrap_or_else(|| AskedBody::Whole(std::mem::take(&mut self.piece)))
    }

    /// Writes what can be written. One that has stopped is silent from then on: what its server says is read yet.
    pub(super) fn poll(&mut self, wire: &mut Bare, cx: &mut Context<'_>) -> Poll<Result<(), Stopped>> {
        match self.state {
            State::Done => return Poll::Ready(Ok(())),
            State::Broken => return Poll::Pending,
            State::Untouched | State::UnderWay => {}
        }
        let polled = self.poll_on(wire, cx);
        if let Poll::Ready(ended) = &polled {
            self.state = match ended {
                Ok(()) => State::Done,
                Err(_) if self.state == State::Untouched => State::Untouched,
                Err(_) => State::Broken,
            };
        }
        polled
    }

    fn poll_on(&mut self, wire: &mut Bare, cx: &mut Context<'_>) -> Poll<Result<(), Stopped>> {
        loop {
            ready!(self.poll_pieces(wire, cx)).map_err(Stopped::Wire)?;
            let Some(body) = &mut self.body else {
                // a long request is not kept in memory while its answer goes on
                (self.lead, self.led, self.piece) = (Vec::new(), 0, Bytes::new());
                return Pin::new(wire).poll_flush(cx).map_err(Stopped::Wire);
            };
            match Pin::new(body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    // the trailers of a request go no further
                    if let Ok(piece) = frame.into_data() {
                        self.frame(piece)?;
                    }
                }
                Poll::Ready(None) => self.end()?,
                Poll::Pending => {
                    // what lies in the memory of TLS goes out before anybody waits
                    ready!(Pin::new(wire).poll_flush(cx)).map_err(Stopped::Wire)?;
                    return Poll::Pending;
                }
            }
        }
    }

    /// Another piece of the body. An empty one would end it.
    fn frame(&mut self, piece: Bytes) -> Result<(), Stopped> {
        if piece.is_empty() {
            return Ok(());
        }
        (self.led, self.tail) = (0, b"");
        self.lead.clear();
        match &mut self.framed {
            Framed::Sized(left) => *left = left.checked_sub(piece.len() as u64).ok_or(Stopped::Length)?,
            Framed::Chunks => {
                self.lead.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
                self.tail = b"\r\n";
            }
        }
        self.piece = piece;
        Ok(())
    }

    fn end(&mut self) -> Result<(), Stopped> {
        self.body = None;
        match self.framed {
            Framed::Sized(0) => {}
            Framed::Sized(_) => return Err(Stopped::Length),
            Framed::Chunks => self.tail = b"0\r\n\r\n",
        }
        Ok(())
    }

    fn poll_pieces(&mut self, wire: &mut Bare, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let lead = &self.lead[self.led..];
            let pieces = [IoSlice::new(lead), IoSlice::new(&self.piece), IoSlice::new(self.tail)];
            let from = pieces.iter().take_while(|piece| piece.is_empty()).count();
            let behind = pieces.iter().rev().take_while(|piece| piece.is_empty()).count();
            if from == pieces.len() {
                return Poll::Ready(Ok(()));
            }
            let to = pieces.len() - behind;
            let written = ready!(Pin::new(&mut *wire).poll_write_vectored(cx, &pieces[from..to]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.state = State::UnderWay;
            self.advance(written);
        }
    }

    fn advance(&mut self, written: usize) {
        let led = written.min(self.lead.len() - self.led);
        let piece = (written - led).min(self.piece.len());
        let tail = (written - led - piece).min(self.tail.len());
        self.led += led;
        self.piece.advance(piece);
        self.tail = &self.tail[tail..];
    }
}

fn head<B>(request: &Request<B>, host: &HeaderValue, exact: Option<u64>) -> Vec<u8> {
    let fields = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4);
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let mut head = Vec::with_capacity(fields.sum::<usize>() + path.len() + host.len() + 80);
    let mut put = |pieces: &[&[u8]]| pieces.iter().for_each(|piece| head.extend_from_slice(piece));
    let host = request.headers().get(header::HOST).unwrap_or(host);
    put(&[
        request.method().as_str().as_bytes(),
        b" ",
        path.as_bytes(),
        b" HTTP/1.1\r\nhost: ",
        host.as_bytes(),
        b"\r\n",
    ]);
    for (name, value) in request.headers() {
        // told here, by what is sent
        if !matches!(*name, header::HOST | header::CONTENT_LENGTH | header::TRANSFER_ENCODING) {
            put(&[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"]);
        }
    }
    match exact {
        None => put(&[b"transfer-encoding: chunked\r\n\r\n"]),
        // an empty body is told where one is looked for (RFC 9110, section 8.6)
        Some(0) if !matches!(*request.method(), Method::POST | Method::PUT | Method::PATCH) => put(&[b"\r\n"]),
        Some(length) => put(&[b"content-length: ", length.to_string().as_bytes(), b"\r\n\r\n"]),
    }
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(request: http::request::Builder, exact: Option<u64>) -> String {
        let request = request.body(()).unwrap();
        String::from_utf8(head(&request, &HeaderValue::from_static("a.example"), exact)).unwrap()
    }

    #[test]
    fn a_head_says_what_is_sent_and_nothing_else_of_it() {
        let lies =
            Request::post("http://other/v1/chat?x=1").header("content-length", "9").header("transfer-encoding", "gzip");
        let told_lies = told(lies.header("x-b", "1").header("x-b", "2"), Some(7));
        let lines = "POST /v1/chat?x=1 HTTP/1.1\r\nhost: a.example\r\nx-b: 1\r\nx-b: 2\r\ncontent-length: 7\r\n\r\n";
        assert_eq!(told_lies, lines);
        let chunked = told(Request::put("/f").header("host", "b.example"), None);
        assert_eq!(chunked, "PUT /f HTTP/1.1\r\nhost: b.example\r\ntransfer-encoding: chunked\r\n\r\n");
        assert_eq!(told(Request::get("http://other"), Some(0)), "GET / HTTP/1.1\r\nhost: a.example\r\n\r\n");
        assert_eq!(
            told(Request::post("/"), Some(0)),
            "POST / HTTP/1.1\r\nhost: a.example\r\ncontent-length: 0\r\n\r\n"
        );
    }

    #[test]
    fn a_body_has_the_length_that_was_told() {
        let mut out = Outgoing::none();
        out.framed = Framed::Sized(4);
        out.frame(Bytes::from_static(b"abc")).unwrap();
        assert!(matches!(out.end(), Err(Stopped::Length)), "one more is owed");
        assert!(matches!(out.frame(Bytes::from_static(b"de")), Err(Stopped::Length)), "and two are too many");
        out.frame(Bytes::from_static(b"d")).unwrap();
        out.end().unwrap();
    }

    #[test]
    fn pieces_go_out_in_their_order_whatever_is_taken_at_a_time() {
        for at_a_time in 1..20 {
            let mut out = Outgoing::none();
            out.framed = Framed::Chunks;
            out.frame(Bytes::from_static(b"abcdefghij")).unwrap();
            let mut sent = Vec::new();
            while !(out.lead[out.led..].is_empty() && out.piece.is_empty() && out.tail.is_empty()) {
                let left = [&out.lead[out.led..], &out.piece, out.tail].concat();
                let taken = at_a_time.min(left.len());
                sent.extend_from_slice(&left[..taken]);
                out.advance(taken);
            }
            assert_eq!(sent, b"a\r\nabcdefghij\r\n");
        }
    }
}
