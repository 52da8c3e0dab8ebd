#!/usr/bin/env bash
# Runs the fuzz targets: fuzz/run.sh --help
set -euo pipefail
cd "$(dirname "$0")"
all=$(sed -n 's/^path = "fuzz_targets\/\(.*\)\.rs"$/\1/p' Cargo.toml)

help() {
    cat <<END
usage: make fuzz [FUZZ_SECONDS=60] [TARGETS="sse patch"]
       fuzz/run.sh [--seconds N] [--no-build] [--list] [target ...]

Runs each fuzz target for so many seconds, one after the other, beginning with the golden files (fuzz/seed.sh), what earlier
runs kept (fuzz/corpus) and every finding of old (fuzz/findings). A finding is made as small as can be and kept in
fuzz/artifacts; the others run on, and the exit code is 1. At the end a table says what was run.

  --seconds N   for each target; FUZZ_SECONDS says the same (60)
  --no-build    run what was built last
  --list        name the targets

The build needs a stable Rust and a C++ compiler, no nightly and no cargo-fuzz: coverage comes from LLVM's own pass, without
a sanitizer, for the code under test has no unsafe. It goes to \$CARGO_TARGET_DIR/fuzz, or fuzz/target/fuzz.

What to do with a finding: see CONTRIBUTING.md, "Fuzzing".
targets: $(echo $all)
END
}

die() {
    printf 'error: %s\n' "$*" >&2
    exit 2
}

seconds=${FUZZ_SECONDS:-60}
build=yes
names=()
while [ $# -gt 0 ]; do
    case $1 in
    -h | --help) help && exit 0 ;;
    --list) printf '%s\n' $all && exit 0 ;;
    --seconds) seconds=${2:-} && shift ;;
    --no-build) build=no ;;
    -*) die "there is no option $1; see fuzz/run.sh --help" ;;
    *)
        printf '%s\n' $all | grep -qx -- "$1" || die "there is no target $1; there are: $(echo $all)"
        names+=("$1")
        ;;
    esac
    shift
done
[[ $seconds =~ ^[1-9][0-9]*$ ]] || die "--seconds takes a whole number of at least 1, not '$seconds'"
[ ${#names[@]} -gt 0 ] || names=($all)
command -v cargo >/dev/null || die "cargo is missing; install Rust as https://rustup.rs says, then run again"
command -v c++ >/dev/null || die "a C++ compiler is missing (libFuzzer is built from source); on Debian: apt-get install build-essential"

host=$(rustc -vV | sed -n 's/^host: //p')
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}/fuzz"
bin=$CARGO_TARGET_DIR/$host/release
if [ $build = yes ]; then
    # `--target` keeps the instrumentation out of build scripts.
    flags="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters"
    flags="$flags -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares"
    flags="$flags --cfg fuzzing -Ccodegen-units=1"
    for name in "${names[@]}"; do
        # Most need only the wire; two the gateway and all that it needs, and two the whole.
        features=()
        case $name in
        edge | answer) features=(--features gateway) ;;
        config | release) features=(--features app) ;;
        esac
        printf '== building %s (the first of them, edge and config take minutes)\n' "$name"
        RUSTFLAGS="$flags" cargo build --quiet --release --target "$host" --bin "$name" "${features[@]}"
    done
fi
./seed.sh

table=$(printf '%-10s %8s %12s %8s %8s %8s  %s' target seconds executions "per s" edges corpus findings)
found=0
for name in "${names[@]}"; do
    printf '== %s: %s s, from %s inputs\n' "$name" "$seconds" "$(ls "corpus/$name" | wc -l)"
    mkdir -p "artifacts/$name"
    log=artifacts/$name.log
    failed=0
    # The time limit of one input is by the clock, and long: a machine that does other things is slow, and a law that takes
    # time without end is found all the same.
    "$bin/$name" -max_total_time="$seconds" -max_len=8192 -timeout=300 -rss_limit_mb=2048 -dict=words.dict -detect_leaks=0 -report_slow_units=300 \
        -artifact_prefix="artifacts/$name/" -print_final_stats=1 "corpus/$name" >"$log" 2>&1 &
    fuzzer=$!
    while sleep 1 && kill -0 $fuzzer 2>/dev/null; do
        [ $((SECONDS % 15)) = 0 ] || continue
        said=$(sed -n 's/^#\([0-9]*\)\t.*cov: \([0-9]*\) .*exec\/s: \([0-9]*\).*/\1 executions, \2 edges, \3 per second/p' "$log" | tail -1)
        printf '   %s\n' "${said:-reading the inputs}"
    done
    wait $fuzzer || failed=$?
    executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    rate=$(sed -n 's/^stat::average_exec_per_sec: *//p' "$log")
    edges=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -1)
    finding=$(sed -n 's/.*Test unit written to //p' "$log" | tail -1)
    if [ $failed != 0 ] || [ -n "$finding" ]; then
        found=$((found + 1))
        printf '== %s: FOUND %s\n' "$name" "${finding:-a failure without an input}"
        grep -m1 -A3 'panicked at\|ERROR: libFuzzer' "$log" || tail -5 "$log"
        if [ -f "$finding" ]; then
            small=artifacts/$name/small-$(basename "$finding")
            "$bin/$name" -minimize_crash=1 -max_total_time=20 -exact_artifact_path="$small" "$finding" >>"$log" 2>&1 || true
            [ -s "$small" ] && finding=$small
            printf '   %s bytes; again by: %s %s\n' "$(wc -c <"$finding")" "$bin/$name" "fuzz/$finding"
        fi
    fi
    table+=$(printf '\n%-10s %8s %12s %8s %8s %8s  %s' "$name" "$seconds" "${executions:-?}" "${rate:-?}" "${edges:-?}" \
        "$(ls "corpus/$name" | wc -l)" "${finding:-none}")
done
printf '%s\n' "$table"
if [ $found -gt 0 ]; then
    printf '%s of %s targets have found something; the whole of what they said is in fuzz/artifacts/*.log\n' $found ${#names[@]}
    exit 1
fi
