#!/usr/bin/env bash
# make replay DATA=<folder>: recorded generations through the real binary. JSON=1 for a machine;
# RUNS=prime_gpt4=1,aa_prime_gpt4=40 names scenarios and seeds.
source "$(dirname "$0")/lib.sh"
need_rust
[ -n "${DATA:-}" ] || die "say where the recorded generations are: make replay DATA=<folder>"
[ -f "$DATA/manifest.json" ] || die "there is no manifest.json in $DATA; without the recorded generations nothing is replayed"
DATA=$(cd "$DATA" && pwd)
bin=${CARGO_TARGET_DIR:-target}/quick
cargo build --profile quick --quiet --package coalmine --package outside
need_python_env "$bin/replay-venv" aiohttp==3.14.5
# A copy, so that building meanwhile does not change what is measured.
cp "$bin/coalmine" "$bin/coalmine-replay"
args=(replay --data "$DATA" --bin "$bin/coalmine-replay" --python "$bin/replay-venv/bin/python")
[ -z "${RUNS:-}" ] || args+=(--runs "$RUNS")
[ -z "${JSON:-}" ] || args+=(--json)
exec "$bin/outside" "${args[@]}"
