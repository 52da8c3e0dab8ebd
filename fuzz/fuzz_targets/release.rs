//! Release files, suites of sentinels and judges, whatever is written in them.
#![no_main]

use coalmine::config::laws;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    // The first byte says what it is.
    let Some((what, written)) = input.split_first() else { return };
    let Ok(text) = std::str::from_utf8(written) else { return };
    match what % 3 {
        0 => laws::release(text),
        1 => laws::suite(text),
        _ => laws::judge(text),
    }
});
