#!/usr/bin/env bash
# make accidents: what the shipped loop decides where the evidence fails, under each policy on silence. JSON=1 for a
# machine. Exits with 1 where a release passed without evidence.
source "$(dirname "$0")/lib.sh"
need_rust
args=()
[ -z "${JSON:-}" ] || args=(--json)
exec cargo run --profile quick --quiet --package coalmine-sim --example accidents -- "${args[@]}"
