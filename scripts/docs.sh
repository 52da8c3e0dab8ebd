#!/usr/bin/env bash
# make docs: the book (target/book) and the crates' docs (target/doc).
source "$(dirname "$0")/lib.sh"
need_rust
need_cargo mdbook mdbook
mdbook build
RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --quiet
say "docs: target/book/index.html and ${CARGO_TARGET_DIR:-target}/doc"
