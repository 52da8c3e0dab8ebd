//! Frames in any pieces, and the events in them.
#![no_main]

use coalmine_wire::websocket::Sender;
use laws::cut::DRAWN;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    // The first byte says what it is.
    let Some((what, bytes)) = input.split_first() else { return };
    match what % 5 {
        0 => laws::websocket::frames(Sender::Server, bytes, DRAWN),
        1 => laws::websocket::frames(Sender::Client, bytes, DRAWN),
        2 => laws::websocket::event_of_a_client(bytes),
        3 => laws::websocket::event_of_a_server(bytes),
        _ => laws::websocket::protocols(&String::from_utf8_lossy(bytes)),
    }
});
