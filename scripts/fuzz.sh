#!/usr/bin/env bash
# make fuzz: every fuzz target for FUZZ_SECONDS seconds. Needs a nightly toolchain and cargo-fuzz.
source "$(dirname "$0")/lib.sh"
need_rust
[ -d fuzz ] || die "there is no fuzz/ folder yet"
need_cargo cargo-fuzz cargo-fuzz
cargo +nightly --version >/dev/null 2>&1 || die "fuzzing needs a nightly toolchain: rustup toolchain install nightly"
for target in $(cargo +nightly fuzz list); do
  say "fuzzing $target"
  cargo +nightly fuzz run "$target" -- "-max_total_time=${FUZZ_SECONDS:-60}"
done
