#!/usr/bin/env bash
# make lint: format, clippy, the rules of the house, generated files, licences and sources, docs.
source "$(dirname "$0")/lib.sh"
need_rust

say "format"
cargo fmt --all --check
say "clippy"
cargo clippy --workspace --all-targets --quiet -- -D warnings
# What is built on demand only.
cargo clippy --package coalmine-store --features conformance --all-targets --quiet -- -D warnings
say "tidy"
cargo xtask tidy
say "generated files"
cargo xtask codegen --check
say "docs of the crates"
RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --quiet --document-private-items

say "licences, sources and bans"
need_cargo cargo-deny cargo-deny
cargo deny --log-level error check bans licenses sources
say "advisories"
# The database is fetched from its git host; without a network that is told, and is no failure.
if cargo deny --log-level error fetch db >/dev/null 2>&1; then
  cargo deny --log-level error check advisories
else
  echo "NOT CHECKED: the advisory database cannot be fetched from here"
fi

say "lint passed"
