#!/usr/bin/env bash
# make release: the fastest binary, at target/release/coalmine. It is built once so that it notes which way its code goes, driven for a
# minute by the clients of `make soak` and then by ordinary ones as fast as they are answered, and built again by what was noted. Where
# BOLT is found or Debian has it, what was built is driven so once more, and its code laid out in the order in which it runs.
# On a machine without rustup, which brings the tools for the first half, it is an ordinary release build, and says so.
source "$(dirname "$0")/lib.sh"
need_rust
need node nodejs
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
host=$(rustc -vV | sed -n 's/^host: //p')
tools=$(rustc --print sysroot)/lib/rustlib/$host/bin
guided=$target/guided

if [ ! -x "$tools/llvm-profdata" ] && command -v rustup >/dev/null; then
  say "adding llvm-tools to the toolchain (once)"
  rustup component add llvm-tools || true
fi
if [ ! -x "$tools/llvm-profdata" ]; then
  say "an ordinary release build: llvm-tools are missing, which only rustup can add"
  exec cargo build --release --package coalmine
fi

# The newest llvm-bolt here, with its libraries beside it; nothing where there is none.
bolt() {
  local found
  found=$(compgen -c llvm-bolt | grep -xE 'llvm-bolt(-[0-9]+)?' | sort -Vu | tail -1) || return 0
  found=$(realpath "$(command -v "$found")")
  [ ! -e "$(dirname "$found")/../lib/libbolt_rt_instr.a" ] || echo "$found"
}
layout=""
if [[ $host == x86_64-*-linux-gnu ]]; then
  layout=$(bolt)
  if [ -z "$layout" ] && command -v apt-cache >/dev/null; then
    newest=$(apt-cache --names-only search '^bolt-[0-9]+$' | cut -d' ' -f1 | sort -V | tail -1)
    [ -z "$newest" ] || (debian "$newest") || true
    layout=$(bolt)
  fi
fi
[ -n "$layout" ] || say "no llvm-bolt here: the code stays in the compiler's order"

# drive BINARY NAME: a minute of clients of every kind, then ordinary ones. What they made it note in now/ lies in soak/ and ordinary/ then.
drive() {
  local log=$guided/$2.log
  rm -rf "$guided"/{now,soak,ordinary} && mkdir -p "$guided/now"
  MINUTES=1 scripts/soak.sh "$1" >"$log" 2>&1 || die "the build that takes notes did not pass its minute of clients; see $log"
  mv "$guided/now" "$guided/soak" && mkdir "$guided/now"
  node tests/soak/ordinary.mjs "$1" 20 >>"$log" 2>&1 || die "the build that takes notes did not answer ordinary clients; see $log"
  mv "$guided/now" "$guided/ordinary"
  [ -n "$(ls "$guided/ordinary")" ] || die "the build that takes notes left none in $guided/ordinary"
}

# With --target the flags are those of the binary alone, and not of what runs while it is built. Names are mangled the newer way:
# in the older one BOLT takes a module whose name begins with `warm` for a cold half of its parent.
flags="-Csymbol-mangling-version=v0"
say "1 of 4: a build that notes which way its code goes"
CARGO_TARGET_DIR=$guided/noting RUSTFLAGS="$flags -Cprofile-generate" \
  cargo build --profile quick --quiet --package coalmine --target "$host"
say "2 of 4: a minute of clients of every kind, and some of ordinary ones"
LLVM_PROFILE_FILE="$guided/now/%p.profraw" drive "$guided/noting/$host/quick/coalmine" noting
# In a minute of enormous bodies the loops over their bytes run a million times for each request: what ordinary requests do counts most.
"$tools/llvm-profdata" merge -o "$guided/notes.profdata" -weighted-input=1,"$guided/soak" -weighted-input=20,"$guided/ordinary"
say "3 of 4: the build that goes by the notes"
[ -z "$layout" ] || flags+=" -Clink-arg=-Wl,--emit-relocs"
CARGO_TARGET_DIR=$guided RUSTFLAGS="$flags -Cprofile-use=$guided/notes.profdata" \
  cargo build --release --quiet --package coalmine --target "$host"
mkdir -p "$target/release"
built=$guided/$host/release/coalmine
if [ -n "$layout" ]; then
  say "4 of 4: its code in the order in which it runs ($("$layout" --version | grep -o 'LLVM version.*' | head -1))"
  # The assembler of ring describes itself in a way that BOLT does not read: it stays where it is.
  leave=(-skip-funcs='ring_core.*')
  "$layout" "$built" -instrument "${leave[@]}" -instrumentation-file="$guided/now/notes" -instrumentation-file-append-pid \
    -o "$guided/counting" >"$guided/bolt.log" 2>&1 || die "BOLT could not make the build count; see $guided/bolt.log"
  drive "$guided/counting" counting
  "$(dirname "$layout")/merge-fdata" "$guided"/{soak,ordinary}/* >"$guided/order.fdata" 2>>"$guided/bolt.log"
  "$layout" "$built" "${leave[@]}" -data="$guided/order.fdata" -reorder-blocks=ext-tsp -reorder-functions=cdsort -split-functions \
    -split-all-cold -split-eh -icf=1 -plt=hot -use-gnu-stack -o "$guided/laid" >>"$guided/bolt.log" 2>&1 ||
    die "BOLT could not lay the code out; see $guided/bolt.log"
  rm -f "$guided/counting"
  built=$guided/laid
fi
cp "$built" "$target/release/coalmine"
say "target/release/coalmine: $("$target/release/coalmine" --version)"
