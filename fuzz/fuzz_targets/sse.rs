//! Events are the same however a stream is cut, and stripping drops nothing but whole events.
#![no_main]

use laws::cut::DRAWN;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|stream: &[u8]| laws::sse::hold(stream, DRAWN));
