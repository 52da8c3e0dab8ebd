#!/usr/bin/env bash
# make release: the fastest binary, at target/release/coalmine. It is built once so that it notes which way its code goes,
# driven for a minute by the clients of `make soak`, and built again by what was noted. On a machine without rustup, which
# brings the tools for that, it is an ordinary release build, and says so.
source "$(dirname "$0")/lib.sh"
need_rust
need node nodejs
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
host=$(rustc -vV | sed -n 's/^host: //p')
merge=$(rustc --print sysroot)/lib/rustlib/$host/bin/llvm-profdata

if [ ! -x "$merge" ] && command -v rustup >/dev/null; then
  say "adding llvm-tools to the toolchain (once)"
  rustup component add llvm-tools || true
fi
if [ ! -x "$merge" ]; then
  say "an ordinary release build: llvm-tools are missing, which only rustup can add"
  exec cargo build --release --package coalmine
fi

# With --target the flags are those of the binary alone, and not of what runs while it is built.
notes=$target/guided/notes
say "1 of 3: a build that notes which way its code goes"
CARGO_TARGET_DIR=$target/guided/noting RUSTFLAGS="-Cprofile-generate=$notes" \
  cargo build --profile quick --quiet --package coalmine --target "$host"
say "2 of 3: a minute of clients of every kind"
rm -rf "$notes"
MINUTES=1 scripts/soak.sh "$target/guided/noting/$host/quick/coalmine" >"$target/guided/soak.log" 2>&1 ||
  die "the build that takes notes did not pass its minute of clients; see $target/guided/soak.log"
compgen -G "$notes/*.profraw" >/dev/null || die "the build that takes notes left none in $notes"
"$merge" merge -o "$target/guided/notes.profdata" "$notes"/*.profraw
say "3 of 3: the build that goes by them"
CARGO_TARGET_DIR=$target/guided RUSTFLAGS="-Cprofile-use=$target/guided/notes.profdata" \
  cargo build --release --quiet --package coalmine --target "$host"
mkdir -p "$target/release"
cp "$target/guided/$host/release/coalmine" "$target/release/coalmine"
say "target/release/coalmine: $("$target/release/coalmine" --version)"
