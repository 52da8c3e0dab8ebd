//! What judges, graders, webhooks and model servers say.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    // The first byte says who speaks.
    let Some((who, said)) = input.split_first() else { return };
    match who % 4 {
        0 => laws::replies::exposition(said),
        1 => laws::replies::verdict(&String::from_utf8_lossy(said)),
        2 => laws::replies::shown(said),
        _ => laws::replies::body(said),
    }
});
