//! Events are the same however a stream is cut, and stripping drops nothing but whole events.
#![no_main]

use libfuzzer_sys::fuzz_target;

/// Up to this length an input is cut at every offset; the tests of the wire cut every golden file so.
const EVERY: usize = 1024;

fuzz_target!(|stream: &[u8]| laws::sse::hold(stream, EVERY));
