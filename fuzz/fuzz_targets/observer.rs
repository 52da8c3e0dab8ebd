//! What an answer says of itself is the same however it is cut.
#![no_main]

use coalmine_wire::dialect::Dialect;
use laws::observer::As;
use laws::cut::DRAWN;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    // The first byte says how it comes, the second of which dialect it is.
    let [how, dialect, answer @ ..] = input else { return };
    let how = if how & 1 == 0 { As::Stream } else { As::Body };
    let dialect = Dialect::ALL[usize::from(*dialect) % Dialect::ALL.len()];
    laws::observer::hold(dialect, how, answer, DRAWN);
});
