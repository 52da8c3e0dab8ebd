#!/usr/bin/env bash
# make test: unit tests, laws, conformance, docs' examples; then the black box: the real binary,
# the real SDKs. Installs what the tests need and is missing.
source "$(dirname "$0")/lib.sh"
need_rust

say "tests of the crates"
if command -v cargo-nextest >/dev/null; then
  cargo nextest run --workspace --no-fail-fast
else
  cargo test --workspace --all-targets --quiet --no-fail-fast
fi
say "examples in the docs"
cargo test --workspace --doc --quiet

[ -f "${COALMINE_RECORDINGS:-../shared/data/replay}/manifest.json" ] ||
  say "recorded generations: NOT BACKTESTED, there are none (COALMINE_RECORDINGS names their folder)"

say "the promise, quick"
RELEASES=40 scripts/promise.sh

if [ -x scripts/blackbox.sh ]; then
  say "black box"
  scripts/sdk-setup.sh
  scripts/blackbox.sh
else
  say "black box: scripts/blackbox.sh is missing, nothing is tested from outside"
fi

say "all tests passed"
