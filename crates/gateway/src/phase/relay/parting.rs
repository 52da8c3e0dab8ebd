//! How a client learns that its answer is not whole: by an error in its own dialect where it stands between two events, and
//! else by a body that breaks. What came before leaves before it.

use crate::answer::BoxError;
use crate::end::GatewayEnds;
use bytes::Bytes;
use coalmine_wire::dialect::Dialect;
use coalmine_wire::openai::errors::{self, Problem};
use std::task::{Context, Poll};

/// The last bytes of what went to the client, to tell whether an event is under way.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tail([u8; 4]);

impl Tail {
    pub(crate) fn follow(&mut self, piece: &[u8]) {
        let last = &piece[piece.len().saturating_sub(4)..];
        self.0.rotate_left(last.len());
        self.0[4 - last.len()..].copy_from_slice(last);
    }

    /// Nothing went yet, or the last was an empty line.
    pub(crate) fn ends_an_event(&self) -> bool {
        self.0 == [0; 4] || [&b"\n\n"[..], b"\r\r", b"\r\n\r\n", b"\n\r\n"].iter().any(|end| self.0.ends_with(end))
    }
}

/// A body that stalled.
#[derive(Debug, thiserror::Error)]
#[error("the provider sent nothing for too long")]
pub(crate) struct Stalled;

/// A body that ended, of an answer that had not.
#[derive(Debug, thiserror::Error)]
#[error("the provider ended its answer in the middle")]
pub(crate) struct CutOff;

/// What the client of a stream is told of such an error.
pub(crate) fn farewell(dialect: Dialect, error: &BoxError, number: u64) -> Bytes {
    let (problem, told) = if error.is::<GatewayEnds>() {
        (
            Problem::Overloaded,
            "this gateway ends, and its time for answers was over; what came of this one is not whole",
        )
    } else if error.is::<Stalled>() {
        (Problem::UpstreamTimeout, "the provider's answer did not get on for too long; what came of it is not whole")
    } else {
        (Problem::BadUpstream, "the provider's answer broke off; what came of it is not whole")
    };
    errors::event_of(dialect, problem, told, number).into()
}

/// The break of a body, behind everything that is to leave before.
#[derive(Debug, Default)]
pub(crate) struct Parting {
    broke: Option<BoxError>,
    /// What came before had its turn to leave.
    paused: bool,
}

impl Parting {
    pub(crate) fn break_by(&mut self, error: BoxError) {
        self.broke = Some(error);
    }

    pub(crate) fn is_none(&self) -> bool {
        self.broke.is_none()
    }

    /// Asked once all else has been handed out.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<BoxError>> {
        if self.broke.is_some() && !std::mem::replace(&mut self.paused, true) {
            // An error that comes with the bytes before it would take them along: they leave first.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(self.broke.take())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_ends_with_an_empty_line_however_it_was_cut() {
        let ends = |pieces: &[&str]| {
            let mut tail = Tail::default();
            pieces.iter().for_each(|piece| tail.follow(piece.as_bytes()));
            tail.ends_an_event()
        };
        assert!(ends(&[]) && ends(&["data: a\n\n"]) && ends(&["data: a\r\n\r", "\n"]) && ends(&["data: a\r", "\r"]));
        assert!(!ends(&["data: a"]) && !ends(&["data: a\n"]) && !ends(&["data: a\r\n"]) && !ends(&["\n\n", "d"]));
    }

    #[test]
    fn a_break_lets_go_of_what_came_before_it() {
        let cx = &mut Context::from_waker(std::task::Waker::noop());
        let mut whole = Parting::default();
        assert!(whole.is_none() && matches!(whole.poll(cx), Poll::Ready(None)));
        let mut broken = Parting::default();
        broken.break_by(CutOff.into());
        assert!(broken.poll(cx).is_pending());
        assert!(matches!(broken.poll(cx), Poll::Ready(Some(error)) if error.is::<CutOff>()));
        assert!(matches!(broken.poll(cx), Poll::Ready(None)));
    }

    #[test]
    fn a_farewell_says_what_it_was() {
        let told = |error: BoxError| String::from_utf8(farewell(Dialect::Chat, &error, 0).to_vec()).unwrap();
        assert!(told(Stalled.into()).contains("upstream_timeout") && told(CutOff.into()).contains("bad_gateway"));
    }
}
