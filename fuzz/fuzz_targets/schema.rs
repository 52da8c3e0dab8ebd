//! Contracts that clients send, and what is held against them.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    // What is held against the schema stands behind a line feed of its own.
    let at = input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
    let text = String::from_utf8_lossy(input.get(at + 1..).unwrap_or_default());
    laws::schema::hold(&input[..at], &text);
});
