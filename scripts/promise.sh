#!/usr/bin/env bash
# make promise: false rollback, false promotion and detection, of our test beside the rules of others, and of the shipped
# loop with every path to a rollback switched on. Quick by default; FULL=1 as stated (some 20 minutes on two idle cores); JSON=1 for a
# machine; RELEASES=n sets how many releases the shipped loop gets. Exits with 1 where a number breaks the promise.
source "$(dirname "$0")/lib.sh"
need_rust
effort=quick releases=${RELEASES:-100}
[ -z "${FULL:-}" ] || effort=full releases=${RELEASES:-2000}
examples=${CARGO_TARGET_DIR:-target}/quick/examples
# Both are called `promise`, so each is built and copied by itself.
for crate in stats sim; do
  cargo build --profile quick --quiet --package "coalmine-$crate" --example promise
  cp "$examples/promise" "$examples/promise-$crate"
done
machine="$(grep -m1 'model name' /proc/cpuinfo | cut -d: -f2 | sed 's/^ *//'), $(nproc) cores; $(uname -sr)"
versions="coalmine $(git describe --always --dirty 2>/dev/null || echo unknown); $(rustc --version | cut -d' ' -f1,2)"
status=0
if [ -n "${JSON:-}" ]; then
  tests=$("$examples/promise-stats" "$effort" --json) || status=1
  loop=$("$examples/promise-sim" "$releases" --json) || status=1
  printf '{"machine":"%s","versions":"%s","tests":%s,"shipped_loop":%s}\n' "$machine" "$versions" "${tests:-null}" "${loop:-null}"
else
  printf 'machine: %s\nversions: %s\n' "$machine" "$versions"
  say "the test and the rules of others ($effort)"
  "$examples/promise-stats" "$effort" || status=1
  say "the shipped loop ($releases releases)"
  "$examples/promise-sim" "$releases" || status=1
fi
exit $status
