//! Frames are the same however they are cut, what is written is read again, and a version is put into an event that stays an
//! event.

use super::cut;
use coalmine_wire::dialect::Dialect;
use coalmine_wire::openai::{Expect, Fill, Observer, Patch, PromptMode};
use coalmine_wire::realtime::{Asks, ClientEvent, ServerEvent, with_version};
use coalmine_wire::websocket::{self, Broken, Content, Frame, Protocols, Reader, Sender, Sight};

/// Messages beyond this are not shown.
const MESSAGE_MAX_BYTES: usize = 1 << 10;

/// What was read: whole frames, how many messages were too long, and why it went no further.
type Frames = (Vec<(Frame, Vec<u8>)>, usize, Option<Broken>);

/// Of any bytes that come as frames.
pub fn frames(from: Sender, bytes: &[u8], cuts: usize) {
    let whole = cut::everywhere(bytes, cuts, |pieces| read(from, pieces));
    cut::within(bytes.len(), 64 << 10, 8, || read(from, &[bytes]));
    let mut again = Vec::new();
    let mask = (from == Sender::Client).then_some([1, 2, 3, 4]);
    for (frame, payload) in &whole.0 {
        assert!(payload.len() <= MESSAGE_MAX_BYTES);
        websocket::write(*frame, payload, mask, &mut again);
    }
    assert_eq!(read(from, &[&again]), (whole.0, 0, None), "what is written is read");
}

fn read(from: Sender, pieces: &[&[u8]]) -> Frames {
    let mut reader = Reader::new(from, MESSAGE_MAX_BYTES);
    let (mut seen, mut too_long) = (Vec::new(), 0);
    for piece in pieces {
        let fed = reader.feed::<Broken>(piece, &mut |sight| {
            seen.extend(match sight {
                Sight::Message(Content::Text, payload) => Some((Frame::Text, payload.to_vec())),
                Sight::Message(Content::Binary, payload) => Some((Frame::Binary, payload.to_vec())),
                Sight::Ping(payload) => Some((Frame::Ping, payload.to_vec())),
                Sight::Pong(payload) => Some((Frame::Pong, payload.to_vec())),
                Sight::Close(payload) => Some((Frame::Close, payload.to_vec())),
                Sight::TooLong => {
                    too_long += 1;
                    None
                }
            });
            Ok(())
        });
        assert!(reader.kept() <= MESSAGE_MAX_BYTES);
        if let Err(broken) = fed {
            return (seen, too_long, Some(broken));
        }
    }
    (seen, too_long, None)
}

/// Of any text that a client sends as an event.
pub fn event_of_a_client(bytes: &[u8]) {
    let Ok(event) = ClientEvent::read(bytes) else { return };
    let Asks::Settings(at) = event.asks else { return };
    let patch = Patch::new(Dialect::Realtime).with_model("m");
    let patch = patch.with_prompt(PromptMode::Append, "a \"quoted\" line\n").expect("a patch that is valid");
    for fill in [Fill::All, Fill::Present] {
        let Some(patched) = with_version(bytes, at, &patch, fill) else { continue };
        let read = ClientEvent::read(&patched).expect("what is patched stays an event");
        assert_eq!((read.id, read.lane), (event.id.clone(), event.lane.clone()));
        let behind = bytes.len() - at.end;
        assert_eq!(patched[..at.start], bytes[..at.start], "what stands before the settings stays");
        assert_eq!(patched[patched.len() - behind..], bytes[at.end..], "and what stands behind them");
    }
}

/// Of any text that a server sends as an event.
pub fn event_of_a_server(bytes: &[u8]) {
    let _ = ServerEvent::read(bytes);
    let mut observer = Observer::new(Expect { dialect: Dialect::Realtime, stream: true, ..Expect::default() });
    observer.feed_message(bytes);
    let _ = observer.finish();
}

/// Of any text that a client offers as protocols: its key is never among what is spoken.
pub fn protocols(text: &str) {
    let read = Protocols::read(text.lines());
    assert!(read.spoken.iter().all(|one| !one.contains(',') && !one.starts_with("openai-insecure-api-key.")));
}
