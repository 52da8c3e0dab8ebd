#!/usr/bin/env bash
# make backtest: recorded generations of two model versions through `coalmine backtest`: every true regression rolled
# back, nothing else, and 50 pairs decided in every order. DATA names the folder with the recordings; RUNS says how
# many random splits and orders (200; orders of pairs: five times as many).
source "$(dirname "$0")/lib.sh"
need_rust
DATA=${DATA:-../shared/data/replay}
[ -f "$DATA/manifest.json" ] ||
  die "there is no manifest.json in $DATA: nothing was tested; say where the recorded generations are: make backtest DATA=<folder>"
export COALMINE_RECORDINGS
COALMINE_RECORDINGS=$(cd "$DATA" && pwd)
export BACKTEST_RUNS=${RUNS:-200}
exec cargo test --profile quick --quiet --package coalmine --test recorded -- --nocapture
