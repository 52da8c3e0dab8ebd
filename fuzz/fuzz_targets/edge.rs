//! What clients, proxies and providers send beside a body: addresses, traces, pauses, ids, queries, scores, variables.
#![no_main]

use coalmine_gateway::laws;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    // The first byte says what it is.
    let Some((what, written)) = input.split_first() else { return };
    match what % 8 {
        0 => laws::address(written),
        1 => laws::trace(written),
        2 => laws::pause(written),
        3 => laws::request_id(&String::from_utf8_lossy(written)),
        4 => laws::model_of_query(&String::from_utf8_lossy(written)),
        5 => laws::export(written),
        6 => laws::scores(written),
        _ => laws::variables(written),
    }
});
