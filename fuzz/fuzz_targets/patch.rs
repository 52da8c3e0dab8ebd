//! Requests, and versions put into them: what is not patched stays byte for byte.
#![no_main]

use laws::cut::DRAWN;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    laws::patch::json(body);
    laws::patch::hold(body, DRAWN);
});
