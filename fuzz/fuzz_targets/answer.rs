//! An answer of HTTP/1.1 as a provider may write it: the same in whatever pieces it comes.
#![no_main]

use coalmine_gateway::laws;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|written: &[u8]| laws::answer(written));
