#!/usr/bin/env bash
# make replay DATA=<folder>: recorded generations through the real binary. JSON=1 for a machine.
source "$(dirname "$0")/lib.sh"
need_rust
[ -n "${DATA:-}" ] || die "say where the recorded generations are: make replay DATA=<folder>"
[ -d "$DATA" ] || die "there is no folder $DATA; without the recorded generations nothing is replayed"
DATA=$(cd "$DATA" && pwd)
cargo build --profile quick --quiet --package coalmine --package outside
bin=${CARGO_TARGET_DIR:-target}/quick
args=(replay --data "$DATA" --coalmine "$bin/coalmine")
[ -z "${JSON:-}" ] || args+=(--json)
exec "$bin/outside" "${args[@]}"
