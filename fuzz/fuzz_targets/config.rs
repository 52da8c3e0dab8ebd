//! `coalmine.yaml`, whatever is written in it.
#![no_main]

use coalmine::config::laws;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if let Ok(text) = std::str::from_utf8(input) {
        laws::process(text);
    }
});
