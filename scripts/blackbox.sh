#!/usr/bin/env bash
# The black box: the real binary with real SDKs, real sockets, real kills; nothing here imports a Coalmine crate.
# Recorded generations are replayed where DATA (or ../shared/data/replay) holds them.
source "$(dirname "$0")/lib.sh"
need_rust
say "building the binary and what stands outside of it"
cargo build --profile quick --quiet --package coalmine --package outside
bin=${CARGO_TARGET_DIR:-target}/quick

say "unmodified SDKs through Coalmine and directly: the same results"
scripts/sdk.sh "$bin/coalmine"
say "the demo comes out as its worlds are"
"$bin/coalmine" demo --json
say "what holds when things break"
"$bin/outside" faults --bin "$bin/coalmine"
say "sentinels before exposure and within a stage"
"$bin/outside" sentinels --bin "$bin/coalmine"
say "a judge that finds a canary worse, and one that is away"
"$bin/outside" judge --bin "$bin/coalmine"
say "captured answers: sealed, redacted, side by side, labelled on a page"
"$bin/outside" captures --bin "$bin/coalmine"
say "the same pages in a real browser"
scripts/browser.sh "$bin/coalmine"
say "a canary in its shadow, whom no customer meets"
"$bin/outside" shadow --bin "$bin/coalmine"
say "a canary that is cold, and then busy"
"$bin/outside" ready --bin "$bin/coalmine"
say "a provider that drifts, with and without a release"
"$bin/outside" drift --bin "$bin/coalmine"
say "plans from the traffic that a route has had"
"$bin/outside" plans --bin "$bin/coalmine"
say "the listener handed over under load"
"$bin/outside" handover --bin "$bin/coalmine"
say "client keys, quotas and budgets"
"$bin/outside" keys --bin "$bin/coalmine"
say "prompts with variables"
"$bin/outside" variables --bin "$bin/coalmine"
say "answers that get stuck"
"$bin/outside" stuck --bin "$bin/coalmine"
say "an end under slow streams"
"$bin/outside" drain --bin "$bin/coalmine"
say "addresses in several regions: hedged, failed over, and with or without room"
"$bin/outside" regions --bin "$bin/coalmine"
say "the smallest weight, a missing one, and silence"
"$bin/outside" split --bin "$bin/coalmine"
say "pins through ramp, restart and kill -9"
"$bin/outside" pins --bin "$bin/coalmine" --sessions 30000 --split-sessions 30000
data=${DATA:-../shared/data/replay}
if [ -f "$data/manifest.json" ]; then
  say "recorded generations"
  DATA=$data RUNS=prime_gpt4=1,happy_gpt35=1,aa_prime_gpt4=2,opinion_gpt35=2 scripts/replay.sh
else
  say "recorded generations: NOT REPLAYED, $data is not there (DATA names another folder)"
fi
