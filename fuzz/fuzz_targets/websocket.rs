//! Frames are the same however they are cut, what is written is read again, and a version is put into an event that
//! stays an event.
#![no_main]

use coalmine_wire::dialect::Dialect;
use coalmine_wire::openai::{Expect, Fill, Observer, Patch, PromptMode};
use coalmine_wire::realtime::{Asks, ClientEvent, ServerEvent, with_version};
use coalmine_wire::websocket::{self, Broken, Content, Frame, Reader, Sender, Sight};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    // The first byte says how the rest is cut, the second what it is.
    let [cut, what, bytes @ ..] = input else { return };
    let size = usize::from(*cut).max(1);
    match what % 4 {
        0 => frames(Sender::Server, bytes, size),
        1 => frames(Sender::Client, bytes, size),
        2 => event_of_a_client(bytes),
        _ => event_of_a_server(bytes),
    }
});

fn frames(from: Sender, bytes: &[u8], size: usize) {
    let whole = read(from, &[bytes]);
    let pieces: Vec<&[u8]> = bytes.chunks(size).collect();
    assert_eq!(read(from, &pieces), whole);
    let mut again = Vec::new();
    let mask = (from == Sender::Client).then_some([1, 2, 3, 4]);
    for (frame, payload) in &whole.0 {
        websocket::write(*frame, payload, mask, &mut again);
    }
    assert_eq!(read(from, &[&again]), (whole.0, None));
}

fn read(from: Sender, pieces: &[&[u8]]) -> (Vec<(Frame, Vec<u8>)>, Option<Broken>) {
    let mut reader = Reader::new(from, 1 << 16);
    let mut seen = Vec::new();
    for piece in pieces {
        let fed = reader.feed::<Broken>(piece, &mut |sight| {
            seen.extend(match sight {
                Sight::Message(Content::Text, payload) => Some((Frame::Text, payload.to_vec())),
                Sight::Message(Content::Binary, payload) => Some((Frame::Binary, payload.to_vec())),
                Sight::Ping(payload) => Some((Frame::Ping, payload.to_vec())),
                Sight::Pong(payload) => Some((Frame::Pong, payload.to_vec())),
                Sight::Close(payload) => Some((Frame::Close, payload.to_vec())),
                Sight::TooLong => None,
            });
            Ok(())
        });
        if let Err(broken) = fed {
            return (seen, Some(broken));
        }
    }
    (seen, None)
}

fn event_of_a_client(bytes: &[u8]) {
    let Ok(event) = ClientEvent::read(bytes) else { return };
    let Asks::Settings(at) = event.asks else { return };
    let patch = Patch::new(Dialect::Realtime).with_model("m").with_prompt(PromptMode::Append, "a \"quoted\" line\n");
    let Ok(patch) = patch else { return };
    for fill in [Fill::All, Fill::Present] {
        if let Some(patched) = with_version(bytes, at, &patch, fill) {
            let read = ClientEvent::read(&patched).expect("what is patched stays an event");
            assert_eq!((read.id, read.lane), (event.id.clone(), event.lane.clone()));
        }
    }
}

fn event_of_a_server(bytes: &[u8]) {
    let _ = ServerEvent::read(bytes);
    let mut observer = Observer::new(Expect { dialect: Dialect::Realtime, stream: true, ..Expect::default() });
    observer.feed_message(bytes);
    let _ = observer.finish();
}
