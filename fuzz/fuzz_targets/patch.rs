//! Requests, and versions put into them: what is not patched stays byte for byte.
#![no_main]

use libfuzzer_sys::fuzz_target;

/// Up to this length an input is cut at every offset; the tests of the wire cut every golden file so.
const EVERY: usize = 1024;

fuzz_target!(|body: &[u8]| {
    laws::patch::json(body);
    laws::patch::hold(body, EVERY);
});
