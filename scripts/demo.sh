#!/usr/bin/env bash
# make demo: builds the binary and runs the demo; JSON=1 prints the outcome for a machine.
source "$(dirname "$0")/lib.sh"
need_rust
say "building coalmine"
cargo build --profile quick --quiet --package coalmine
args=(demo)
[ -z "${JSON:-}" ] || args+=(--json)
exec "${CARGO_TARGET_DIR:-target}/quick/coalmine" "${args[@]}"
