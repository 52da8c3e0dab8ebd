#!/usr/bin/env bash
# Coalmine against the direct path, nginx and a bare hyper proxy, alternating in one run.
# usage: scripts/bench.sh [--rounds 3] [--secs 4] [--streams 200] [--many 10000] [--no-build]
# BENCH names the folder with the mock upstream, the load generator and the bare proxy (default ../shared/bench).
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=3 secs=4 streams=200 many=10000 build=1
while [ $# -gt 0 ]; do case $1 in
  --rounds) rounds=$2; shift 2;; --secs) secs=$2; shift 2;; --streams) streams=$2; shift 2;;
  --many) many=$2; shift 2;; --no-build) build=0; shift;; *) sed -n 2,4p "$0"; exit 2;; esac; done
bench=$(realpath "${BENCH:-../shared/bench}") || { echo "bench: name the harness with BENCH=DIR" >&2; exit 1; }
target=${CARGO_TARGET_DIR:-$PWD/target}
tools=$target/bench-tools
bin=$target/release/coalmine
if ! command -v nginx >/dev/null; then
  echo "bench: installing nginx-light"
  (apt-get update -qq && apt-get install -y -qq nginx-light) >/dev/null 2>&1 || { echo "bench: nginx is missing and cannot be installed" >&2; exit 1; }
  service nginx stop >/dev/null 2>&1 || true
fi
if [ $build = 1 ]; then
  cargo build --release --quiet -p coalmine
  for tool in mock loadgen floor; do
    rm -rf "$tools/src-$tool" && mkdir -p "$tools" && cp -r "$bench/$tool" "$tools/src-$tool" && chmod -R u+w "$tools/src-$tool"
    (cd "$tools/src-$tool" && CARGO_TARGET_DIR=$tools cargo build --release --quiet)
  done
fi
ulimit -n 65536 2>/dev/null || { many=$(( ($(ulimit -n) - 500) / 2 < many ? ($(ulimit -n) - 500) / 2 : many )); echo "bench: few file descriptors, so $many streams"; }

work=$(mktemp -d); chmod 755 "$work"
pids=()
finish() { for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done; wait 2>/dev/null || true; rm -rf "$work"; }
trap finish EXIT
"$tools/release/mock" --ports 9001,9002 --threads 1 & mock=$!; pids+=($mock)
sed "s#@W@#$work#g" "$bench/conf/nginx.conf" >"$work/nginx.conf"
nginx -c "$work/nginx.conf" -g 'daemon off;' 2>"$work/nginx.out" & nginx=$!; pids+=($nginx)
"$tools/release/floor" 9103 127.0.0.1:9001 127.0.0.1:9002 2 & floor=$!; pids+=($floor)
cp benches/gateway/*.yaml "$work/"
(cd "$work" && exec "$bin" serve --config coalmine.yaml >coalmine.log 2>&1) & coalmine=$!; pids+=($coalmine)
for _ in $(seq 100); do sleep 0.1; "$bin" status --url http://127.0.0.1:9104 >/dev/null 2>&1 && break; done
"$bin" start "$work/release.yaml" --url http://127.0.0.1:9104 >/dev/null
sleep 2

# A chat request of 2 KB with every field that a client commonly sends.
body() { python3 - "$1" <<'PY'
import json, sys
text = "Explain what a canary release is and why a team would use one for language models. " * 19
print(json.dumps({"model": sys.argv[1], "messages": [{"role": "system", "content": "You are a careful assistant that answers briefly."}, {"role": "user", "content": text}], "max_tokens": 256, "temperature": 0.7, "user": "u-1"}))
PY
}
body mock >"$work/mock.json"; body bench >"$work/bench.json"
sed 's/}$/, "stream": true}/' "$work/mock.json" >"$work/mock-stream.json"
sed 's/}$/, "stream": true}/' "$work/bench.json" >"$work/bench-stream.json"
targets=("direct|9001|$mock|mock" "nginx|9100|$nginx|mock" "floor|9103|$floor|mock" "coalmine|9104|$coalmine|bench")
out=${OUT:-$work/results.jsonl}; : >"$out"
load() { # mode tag seconds target stream? extra...
  local mode=$1 tag=$2 s=$3 target=$4 suffix=$5; shift 5
  IFS='|' read -r name port pid model <<<"$target"
  timeout $((${s%.*} + 60)) "$tools/release/loadgen" "$mode" --url "http://127.0.0.1:$port/v1/chat/completions" --model "$model" \
    --body "@$work/$model$suffix.json" --pid "$pid" --name "$name" --secs "$s" "$@" | sed "s/^{/{\"round\":$r,\"tag\":\"$tag\",/" >>"$out" || echo "bench: $name $tag failed" >&2
}
echo "machine: $(grep -m1 'model name' /proc/cpuinfo | cut -d: -f2 | sed 's/^ *//'), $(nproc) cores, $(free -g | awk '/^Mem/{print $2}') GiB; $(uname -sr)"
echo "versions: $("$bin" --version); $(nginx -v 2>&1 | sed 's/nginx version: //'); $(rustc --version | cut -d' ' -f1,2); pins, tallies and a running release at 5 % on, log at info, access log off"
for r in $(seq "$rounds"); do
  echo "round $r of $rounds" >&2
  for t in "${targets[@]}"; do IFS='|' read -r name _ pid _ <<<"$t"
    "$tools/release/loadgen" acct "$pid" | sed "s/^{/{\"round\":$r,\"tag\":\"acct\",\"name\":\"$name\",/" >>"$out"; done
  for t in "${targets[@]}"; do load closed closed1 "$secs" "$t" "" --conns 1 --warm 1; sleep 0.3; done
  for t in "${targets[@]}"; do load closed closed64 "$secs" "$t" "" --conns 64 --warm 1; sleep 0.3; done
  for t in "${targets[@]}"; do load open open2000 "$secs" "$t" "" --rate 2000 --conns 256 --warm 1; sleep 0.3; done
  for t in "${targets[@]}"; do load sse "sse$streams" "$secs" "$t" -stream --conns "$streams" --warm 1.5; sleep 0.3; done
done
if [ "$many" -gt 0 ]; then
  r=1; echo "$many streams at once" >&2
  for t in "${targets[@]}"; do [ "${t%%|*}" = direct ] || { load sse "sse$many" 12 "$t" -stream --conns "$many" --warm 4; sleep 2; }; done
fi
python3 "$bench/report.py" "$out"
python3 scripts/bench_ratios.py "$out"
echo "looks: no socket, one core"
cargo run --release --quiet -p coalmine-core --example looks
