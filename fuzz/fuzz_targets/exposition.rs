//! Whatever a model server's page is, it is read to numbers within their range, and a line that is not understood
//! changes nothing.
#![no_main]

use coalmine_wire::exposition::Load;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|page: &[u8]| {
    let load = Load::read(page);
    if let Some(load) = load {
        assert!([load.running, load.waiting].into_iter().flatten().all(|n| n >= 0.0));
        assert!(load.cache_used.is_none_or(|used| (0.0..=1.0).contains(&used)));
    }
    let commented = [b"# a comment {\"\n".as_slice(), page].concat();
    assert_eq!(Load::read(&commented), load);
});
