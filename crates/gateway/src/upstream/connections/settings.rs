//! What an HTTP/2 server says first: how many requests it takes at once. Nobody shares its connection before that, so it is
//! read on the way, as the first frame of the connection.

use super::dial::Bare;
use super::shard::Dialing;
use super::streams::State;
use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// The bytes before what a frame says.
const HEAD: usize = 9;
/// The type of a frame of settings.
const SETTINGS: u8 = 4;
/// One setting: its name and its number.
const SETTING: usize = 6;
const MAX_CONCURRENT_STREAMS: u16 = 3;
/// A first frame that is longer says nothing to us.
const FRAME_MAX: usize = 4_096;
/// Then so many are taken to be allowed, as before any frame.
const STREAMS_UNTOLD: usize = 100;

/// A connection's bytes, the first of them looked at.
#[derive(Debug)]
pub(super) struct Greeted {
    stream: Bare,
    /// Until it was read.
    greeting: Option<Greeting>,
}

#[derive(Debug)]
struct Greeting {
    read: Vec<u8>,
    state: Arc<State>,
    /// Dropped with it: those who wait for the connection.
    _dialing: Option<Dialing>,
}

impl Greeted {
    pub(super) fn new(stream: Bare, state: Arc<State>, dialing: Option<Dialing>) -> Self {
        Self { stream, greeting: Some(Greeting { read: Vec::new(), state, _dialing: dialing }) }
    }
}

impl Greeting {
    /// Whether all of it has come.
    fn read(&mut self, piece: &[u8]) -> bool {
        self.read.extend_from_slice(piece);
        let streams = streams_max(&self.read);
        if let Some(streams) = streams {
            self.state.allow(streams);
        }
        streams.is_some()
    }
}

/// How many streams a server's first frame allows; `None`: it has not come whole.
fn streams_max(read: &[u8]) -> Option<usize> {
    let head = read.first_chunk::<HEAD>()?;
    let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
    if head[3] != SETTINGS || length > FRAME_MAX {
        return Some(STREAMS_UNTOLD);
    }
    let said = read.get(HEAD..HEAD + length)?;
    let settings = said.chunks_exact(SETTING).filter_map(|setting| setting.first_chunk::<SETTING>());
    let streams = settings
        .filter(|[high, low, ..]| u16::from_be_bytes([*high, *low]) == MAX_CONCURRENT_STREAMS)
        .map(|[_, _, a, b, c, d]| u32::from_be_bytes([*a, *b, *c, *d]) as usize);
    // the last one counts; without one there is no bound
    Some(streams.fold(usize::MAX, |_, streams| streams))
}

impl Read for Greeted {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, mut into: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let Some(greeting) = &mut this.greeting else { return Pin::new(&mut this.stream).poll_read(cx, into) };
        let mut room = [0; 512];
        let most = room.len().min(into.remaining());
        let mut piece = ReadBuf::new(&mut room[..most]);
        ready!(Pin::new(&mut this.stream).poll_read(cx, piece.unfilled()))?;
        into.put_slice(piece.filled());
        if greeting.read(piece.filled()) {
            this.greeting = None;
        }
        Poll::Ready(Ok(()))
    }
}

impl Write for Greeted {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, pieces)
    }
}

#[cfg(test)]
mod tests {
    use super::streams_max;
    use proptest::prelude::*;

    fn frame(kind: u8, said: &[u8]) -> Vec<u8> {
        let length = u32::try_from(said.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, 0, 0, 0, 0, 0], said].concat()
    }

    #[test]
    fn the_first_frame_says_how_many() {
        let seven = [0, 4, 0, 1, 0, 0, 0, 3, 0, 0, 0, 7];
        assert_eq!(streams_max(&frame(4, &seven)), Some(7));
        assert_eq!(streams_max(&frame(4, &[0, 3, 0, 0, 0, 1, 0, 3, 0, 0, 2, 0])), Some(512), "the last one counts");
        assert_eq!(streams_max(&frame(4, &[])), Some(usize::MAX));
        assert_eq!(streams_max(&frame(1, &seven)), Some(super::STREAMS_UNTOLD), "no settings");
    }

    proptest! {
        #[test]
        fn any_bytes_are_borne_and_no_more_than_a_frame_is_waited_for(bytes in prop::collection::vec(any::<u8>(), 0..6_000)) {
            let told = streams_max(&bytes);
            prop_assert!(told.is_some() || bytes.len() < 9 + super::FRAME_MAX);
        }

        #[test]
        fn nothing_is_told_before_the_frame_is_whole(cut in 0_usize..21) {
            let whole = frame(4, &[0, 4, 0, 1, 0, 0, 0, 3, 0, 0, 0, 7]);
            prop_assert_eq!(streams_max(&whole[..cut]), None);
        }
    }
}
