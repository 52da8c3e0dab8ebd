//! Answers and requests in the other dialect, streams in any pieces.
#![no_main]

use coalmine_wire::dialect::Dialect;
use laws::cut::DRAWN;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    // The first byte says of which dialect it is and what.
    let Some((what, text)) = input.split_first() else { return };
    let from = if what & 1 == 0 { Dialect::Chat } else { Dialect::Messages };
    match what >> 1 & 3 {
        0 | 1 => laws::translate::stream(from, text, DRAWN),
        2 => laws::translate::body(from, text),
        _ => laws::translate::error(from, 400 + u16::from(what >> 3) * 4, text, DRAWN),
    }
});
