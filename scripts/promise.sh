#!/usr/bin/env bash
# make promise: false rollback, false promotion and detection, of our test beside the rules of others, and of the shipped
# loop with every path to a rollback switched on. Quick by default; FULL=1 as stated (some 40 minutes on two idle cores); JSON=1 for a
# machine; RELEASES=n sets how many releases the shipped loop gets, ONLY=sentinels plays two hundred flaky sentinels alone. Exits with 1 where a number breaks the promise.
source "$(dirname "$0")/lib.sh"
need_rust
effort=quick releases=${RELEASES:-100} flaky=${RELEASES:-200}
[ -z "${FULL:-}" ] || effort=full releases=${RELEASES:-2000} flaky=${RELEASES:-1000}
examples=${CARGO_TARGET_DIR:-target}/quick/examples
if [ "${ONLY:-}" = sentinels ]; then
  cargo build --profile quick --quiet --package coalmine-sim --example flaky_sentinels
  exec "$examples/flaky_sentinels" "${RELEASES:-1000}" ${JSON:+--json}
fi
cargo build --profile quick --quiet --package coalmine-stats --example promise
cargo build --profile quick --quiet --package coalmine-sim --example shipped_promise --example flaky_sentinels
machine="$(grep -m1 'model name' /proc/cpuinfo | cut -d: -f2 | sed 's/^ *//'), $(nproc) cores; $(uname -sr)"
versions="coalmine $(git describe --always --dirty 2>/dev/null || echo unknown); $(rustc --version | cut -d' ' -f1,2)"
status=0
if [ -n "${JSON:-}" ]; then
  tests=$("$examples/promise" "$effort" --json) || status=1
  loop=$("$examples/shipped_promise" "$releases" --json) || status=1
  sentinels=$("$examples/flaky_sentinels" "$flaky" --json) || status=1
  printf '{"machine":"%s","versions":"%s","tests":%s,"shipped_loop":%s,"flaky_sentinels":%s}\n' "$machine" "$versions" \
    "${tests:-null}" "${loop:-null}" "${sentinels:-null}"
else
  printf 'machine: %s\nversions: %s\n' "$machine" "$versions"
  say "the test and the rules of others ($effort)"
  "$examples/promise" "$effort" || status=1
  say "the shipped loop ($releases releases)"
  "$examples/shipped_promise" "$releases" || status=1
  say "two hundred flaky sentinels ($flaky releases)"
  "$examples/flaky_sentinels" "$flaky" || status=1
fi
exit $status
