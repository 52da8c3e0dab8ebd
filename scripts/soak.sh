#!/usr/bin/env bash
# make soak: MINUTES (30) of normal, aborting, slow, enormous and hostile clients and a sick upstream against the real binary.
# usage: scripts/soak.sh [path of a coalmine binary]; without one it is built
source "$(dirname "$0")/lib.sh"
need node nodejs
bin=${1:-}
if [ -z "$bin" ]; then
  need_rust
  cargo build --profile quick --quiet --package coalmine
  bin=${CARGO_TARGET_DIR:-target}/quick/coalmine
fi
exec node tests/soak/soak.mjs "$(realpath "$bin")" "${MINUTES:-30}"
