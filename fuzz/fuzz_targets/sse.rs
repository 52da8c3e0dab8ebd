//! Events are the same however a stream is cut, they are the stream together, and stripping drops
//! nothing but whole events.
#![no_main]

use bytes::Bytes;
use coalmine_wire::openai::UsageStripper;
use coalmine_wire::sse::{Event, Splitter};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    // The first byte says how the rest is cut.
    let Some((cut, stream)) = input.split_first() else { return };
    let size = usize::from(*cut).max(1);
    let whole = events(&[stream]);
    let pieces: Vec<&[u8]> = stream.chunks(size).collect();
    assert_eq!(events(&pieces), whole);
    assert_eq!(whole.concat(), stream);
    let (stripped, dropped) = strip(&[stream]);
    assert_eq!(strip(&pieces), (stripped.clone(), dropped));
    assert!(dropped > 0 || stripped == stream);
});

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
