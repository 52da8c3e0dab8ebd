#!/usr/bin/env bash
# make fuzz: each fuzz target for FUZZ_SECONDS (60), seeded from the golden files; TARGETS="sse patch" for some of them.
# usage: scripts/fuzz.sh [what fuzz/run.sh takes]; --help says what
source "$(dirname "$0")/lib.sh"
case " $* " in
*" --help "* | *" -h "* | *" --list "*) ;;
*)
  need_rust
  need c++ build-essential
  ;;
esac
# shellcheck disable=SC2086 # names of targets, one word each
exec fuzz/run.sh "$@" ${TARGETS:-}
