#!/bin/sh
# Runs the fuzz targets on a stable toolchain: fuzz/run.sh [seconds for each] [target ...]
# Coverage comes from LLVM's own pass, without a sanitizer: the code under test has no unsafe.
# With a nightly toolchain, `cargo fuzz run <target>` works in this folder as well.
set -eu
cd "$(dirname "$0")"
seconds=${1:-60}
[ $# -gt 0 ] && shift
[ $# -gt 0 ] || set -- sse patch observer translate exposition websocket
./seed.sh
target=$(rustc -vV | sed -n 's/^host: //p')
flags="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters"
flags="$flags -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing -Ccodegen-units=1"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}/fuzz"
for name; do
    # `--target` keeps the instrumentation out of build scripts.
    RUSTFLAGS="$flags" cargo build --quiet --release --target "$target" --bin "$name"
    mkdir -p "corpus/$name" "artifacts/$name"
    "$CARGO_TARGET_DIR/$target/release/$name" -max_total_time="$seconds" -max_len=8192 -timeout=5 -rss_limit_mb=1024 \
        -artifact_prefix="artifacts/$name/" -print_final_stats=1 "corpus/$name"
done
