#!/usr/bin/env bash
# make fuzz: every fuzz target for FUZZ_SECONDS (60) seconds each, seeded from the golden files; stable Rust and a C++
# compiler are enough.
source "$(dirname "$0")/lib.sh"
need_rust
exec fuzz/run.sh "${FUZZ_SECONDS:-60}"
