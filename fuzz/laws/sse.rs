//! Events are the same however a stream is cut, they are the stream together, and stripping drops nothing but whole events.

use super::cut;
use bytes::Bytes;
use coalmine_wire::openai::UsageStripper;
use coalmine_wire::sse::{Event, Splitter};

/// Of any bytes that come as a stream.
pub fn hold(stream: &[u8], cuts: usize) {
    cut::within(stream.len(), 64 << 10, 32, || events(&stream.chunks(1).collect::<Vec<_>>()));
    cut::within(stream.len(), 64 << 10, 32, || strip(&stream.chunks(1).collect::<Vec<_>>()));
    let events = cut::everywhere(stream, cuts, events);
    assert_eq!(events.concat(), stream, "events together are the stream");
    let (stripped, dropped) = cut::everywhere(stream, cuts, strip);
    // Each event is judged by itself, and goes whole or not at all.
    let passing = events.iter().filter(|event| strip(&[event]).1 == 0);
    let passing: Vec<&[u8]> = passing.map(Vec::as_slice).collect();
    assert_eq!(passing.concat(), stripped, "what passes is what came");
    assert_eq!((events.len() - passing.len()) as u64, dropped);
}

fn events(pieces: &[&[u8]]) -> Vec<Vec<u8>> {
    let mut events = Vec::new();
    let mut splitter = Splitter::default();
    let mut take = |event: Event<'_>| {
        let (kind, data) = event.read();
        assert!(kind.len() + data.map_or(0, |data| data.len()) <= event.0.len());
        events.push(event.0.to_vec());
    };
    for piece in pieces {
        splitter.feed(piece, &mut take);
    }
    splitter.finish(&mut take);
    events
}

fn strip(pieces: &[&[u8]]) -> (Vec<u8>, u64) {
    let mut stripper = UsageStripper::default();
    let mut passed = Vec::new();
    for piece in pieces {
        stripper.feed(Bytes::copy_from_slice(piece), |bytes| passed.extend_from_slice(&bytes));
    }
    stripper.finish(|bytes| passed.extend_from_slice(&bytes));
    (passed, stripper.dropped())
}
