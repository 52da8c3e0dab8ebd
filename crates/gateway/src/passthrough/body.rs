//! The body of an answer that is passed through: its bytes as they come, and where they break off a word of it.

use super::Passing;
use crate::answer::BoxError;
use crate::end::GatewayEnds;
use crate::phase::observe::{Ended, StreamOrBody};
use crate::phase::relay::{Came, CutOff, Parting, Pipe, Stalled, Tail, farewell};
use bytes::Bytes;
use coalmine_wire::dialect::Dialect;
use http_body::SizeHint;
use std::task::{Context, Poll, ready};

/// A body on its way.
#[derive(Debug)]
pub struct PassedBody {
    /// `None` once it is over.
    pipe: Option<Pipe>,
    /// Settled with the end of the body, or when its client leaves.
    passing: Option<Box<Passing>>,
    dialect: Dialect,
    form: StreamOrBody,
    tail: Tail,
    /// Behind the last piece.
    last: Option<Bytes>,
    parting: Parting,
}

impl PassedBody {
    pub(crate) fn new(pipe: Pipe, passing: Option<Box<Passing>>, dialect: Dialect, form: StreamOrBody) -> Self {
        let (tail, parting) = (Tail::default(), Parting::default());
        let mut this = Self { pipe: Some(pipe), passing, dialect, form, tail, last: None, parting };
        if this.pipe.as_ref().is_some_and(Pipe::is_over) {
            this.end();
        }
        this
    }

    pub(crate) fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BoxError>>> {
        loop {
            let Some(pipe) = &mut self.pipe else {
                return match self.last.take() {
                    Some(last) => Poll::Ready(Some(Ok(last))),
                    None => self.parting.poll(cx).map(|broke| broke.map(Err)),
                };
            };
            match ready!(pipe.poll_came(cx)) {
                Some(Ok(Came::Piece(piece))) => {
                    if let Some(passing) = &mut self.passing {
                        let progress = passing.see(&piece);
                        if !pipe.is_over() && pipe.is_stuck(progress, || passing.works_unseen()) {
                            self.break_off(Stalled.into());
                            continue;
                        }
                    }
                    self.tail.follow(&piece);
                    if pipe.is_over() {
                        self.end();
                    }
                    return Poll::Ready(Some(Ok(piece)));
                }
                // what nobody reads gets nothing said into it while it goes on
                Some(Ok(Came::Silence)) => {}
                Some(Err(error)) => self.break_off(error),
                None => self.end(),
            }
        }
    }

    /// The provider ended its body: the answer may have had more to come.
    fn end(&mut self) {
        self.pipe = None;
        let Some(mut passing) = self.passing.take() else { return };
        let number = passing.next_number();
        if passing.body_ended() == Ended::CutShort && self.form == StreamOrBody::Stream {
            self.part(CutOff.into(), Some(number));
        }
    }

    /// The body ends before its end, because it broke, or because the gateway ends it.
    fn break_off(&mut self, error: BoxError) {
        self.pipe = None;
        let Some(mut passing) = self.passing.take() else { return self.part(error, None) };
        if error.is::<GatewayEnds>() {
            // no fault of whoever answers
            passing.source = None;
        }
        // nobody misses what would have come behind the last word
        if passing.is_done() {
            passing.body_ended();
            return;
        }
        passing.cut_short();
        let number = passing.reader.is_some().then(|| passing.next_number());
        self.part(error, number);
    }

    /// The client is told that what it has is not all. A stream that nobody reads may be of a kind whose clients know no such
    /// event: it breaks all the same.
    fn part(&mut self, error: BoxError, number: Option<u64>) {
        let is_told = self.form == StreamOrBody::Stream && self.tail.ends_an_event();
        if is_told {
            self.last = Some(farewell(self.dialect, &error, number.unwrap_or(0)));
        }
        if !is_told || number.is_none() {
            self.parting.break_by(error);
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.pipe.is_none() && self.last.is_none() && self.parting.is_none()
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        match &self.pipe {
            Some(pipe) if self.form == StreamOrBody::Body => pipe.size_hint(),
            None if self.is_over() => SizeHint::with_exact(0),
            Some(_) | None => SizeHint::default(),
        }
    }
}
