#!/usr/bin/env bash
# Coalmine beside the direct path, nginx, a bare hyper proxy, haproxy, Envoy, LiteLLM and Portkey, alternating in
# every round of one run; the table and the plot go to docs/benchmarks.md and docs/benchmarks.svg.
# usage: scripts/bench.sh [--rounds 3] [--secs 4] [--streams 200] [--many 10000] [--no-build] [--no-peers] [--no-write]
# Runs that are read for their slowest hundredth, at 2,000 a second and of streams, take three times --secs: with few
# requests in it, a hundredth is a handful of accidents.
# BENCH names the folder with the mock upstream, the load generator and the bare proxy (default ../shared/bench).
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=3 secs=4 streams=200 many=10000 build=1 peers=1 write=1
while [ $# -gt 0 ]; do case $1 in
  --rounds) rounds=$2; shift 2;; --secs) secs=$2; shift 2;; --streams) streams=$2; shift 2;;
  --many) many=$2; shift 2;; --no-build) build=0; shift;; --no-peers) peers=0; shift;; --no-write) write=0; shift;;
  *) sed -n 2,7p "$0"; exit 2;; esac; done
long=$((secs * 3))
bench=$(realpath "${BENCH:-../shared/bench}") || { echo "bench: name the harness with BENCH=DIR" >&2; exit 1; }
target=${CARGO_TARGET_DIR:-$PWD/target}
tools=$target/bench-tools
bin=$target/release/coalmine
if ! command -v nginx >/dev/null; then
  echo "bench: installing nginx-light"
  (apt-get update -qq && apt-get install -y -qq nginx-light) >/dev/null 2>&1 || { echo "bench: nginx is missing and cannot be installed" >&2; exit 1; }
  service nginx stop >/dev/null 2>&1 || true
fi
[ $peers = 0 ] || scripts/bench-peers.sh "$tools/peers"
if [ $build = 1 ]; then
  scripts/release.sh
  cargo run --release --quiet -p coalmine-wire --example detectors
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
# name|port|pid|model|header
targets=()
serves() { for _ in $(seq "${2:-100}"); do curl -s -o /dev/null "http://127.0.0.1:$1/" && return 0; sleep 0.3; done; echo "bench: nothing answers on port $1" >&2; return 1; }
add() { pids+=("$3"); if serves "$2" "${6:-100}"; then targets+=("$1|$2|$3|$4|${5:-}"); else echo "bench: $1 is left out" >&2; fi; }

"$tools/release/mock" --ports 9001,9002 --threads 1 & add direct 9001 $! mock
sed "s#@W@#$work#g" "$bench/conf/nginx.conf" >"$work/nginx.conf"
nginx -c "$work/nginx.conf" -g 'daemon off;' 2>"$work/nginx.out" & add nginx 9100 $! mock
"$tools/release/floor" 9103 127.0.0.1:9001 127.0.0.1:9002 2 & add floor 9103 $! mock
cp benches/gateway/*.yaml "$work/"
(cd "$work" && exec "$bin" serve --config coalmine.yaml >coalmine.log 2>&1) & coalmine=$!; pids+=($coalmine)
for _ in $(seq 100); do sleep 0.1; "$bin" status --url http://127.0.0.1:9104 >/dev/null 2>&1 && break; done
"$bin" start "$work/release.yaml" --url http://127.0.0.1:9104 >/dev/null
key=$("$bin" key create bench --url http://127.0.0.1:9104 --json | python3 -c 'import json,sys; print(json.load(sys.stdin)["secret"])')
targets+=("coalmine|9104|$coalmine|bench|authorization: Bearer $key")
versions="$("$bin" --version); $(nginx -v 2>&1 | sed 's/nginx version: //')"
if [ $peers = 1 ]; then
  python=$tools/peers/python/bin node=$tools/peers/node
  if command -v haproxy >/dev/null; then
    haproxy -db -f "$bench/conf/haproxy-nodelay.cfg" >"$work/haproxy.out" 2>&1 & add haproxy 9111 $! mock
    versions+="; haproxy $(haproxy -v | head -1 | cut -d' ' -f3)"
  fi
  if [ -x "$python/envoy" ]; then
    "$python/envoy" -c "$bench/conf/envoy.yaml" --concurrency 2 -l error >"$work/envoy.out" 2>&1 & add Envoy 9120 $! mock
    versions+="; Envoy $("$python/envoy" --version | grep -o '/[0-9.]*/' | tr -d /)"
  fi
  if [ -f "$node/node_modules/@portkey-ai/gateway/build/start-server.js" ]; then
    node "$node/node_modules/@portkey-ai/gateway/build/start-server.js" --port=9140 --headless >"$work/portkey.out" 2>&1 &
    arm() { echo "{\"provider\":\"openai\",\"api_key\":\"x\",\"custom_host\":\"http://127.0.0.1:$1/v1\",\"weight\":$2}"; }
    add Portkey 9140 $! mock "x-portkey-config: {\"strategy\":{\"mode\":\"loadbalance\"},\"targets\":[$(arm 9001 0.95),$(arm 9002 0.05)]}"
    versions+="; Portkey $(node -p "require('$node/node_modules/@portkey-ai/gateway/package.json').version")"
  fi
  if [ -x "$python/litellm" ]; then
    # It does not start without a master key unless told that it may, and kills workers that are still starting after 5 s.
    echo "bench: LiteLLM takes a minute to start"
    (cd "$work" && LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY=true LITELLM_LOCAL_MODEL_COST_MAP=True PATH=$python:$PATH exec "$python/litellm" --config "$bench/conf/litellm.yaml" --host 127.0.0.1 --port 9130 --num_workers 2 --timeout_worker_healthcheck 120 >"$work/litellm.out" 2>&1) &
    add LiteLLM 9130 $! mock "" 400
    versions+="; LiteLLM $("$python/python" -c 'import importlib.metadata as m; print(m.version("litellm"))')"
  fi
fi
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
out=${OUT:-$work/results.jsonl}; : >"$out"
load() { # mode tag seconds target stream? extra...
  local mode=$1 tag=$2 s=$3 target=$4 suffix=$5 header=(); shift 5
  IFS='|' read -r name port pid model shown <<<"$target"
  [ -z "$shown" ] || header=(--header "$shown")
  timeout $((${s%.*} + 60)) "$tools/release/loadgen" "$mode" --url "http://127.0.0.1:$port/v1/chat/completions" --model "$model" \
    --body "@$work/$model$suffix.json" --pid "$pid" --name "$name" --secs "$s" "${header[@]}" "$@" | sed "s/^{/{\"round\":$r,\"tag\":\"$tag\",/" >>"$out" || echo "bench: $name $tag failed" >&2
}
# LiteLLM and Portkey are asked one at a time and 64 at a time; an open loop of 2,000 a second is beyond them.
quick() { case ${1%%|*} in LiteLLM|Portkey) return 1;; *) return 0;; esac; }
machine="$(grep -m1 'model name' /proc/cpuinfo | cut -d: -f2 | sed 's/^ *//'), $(nproc) cores, $(free -g | awk '/^Mem/{print $2}') GiB; $(uname -sr)"
versions+="; $(rustc --version | cut -d' ' -f1,2)"
about="client keys, pins, tallies and a running release at 5 % on, log at info"
printf 'machine: %s\nversions: %s\nCoalmine: %s\n' "$machine" "$versions" "$about"
for r in $(seq "$rounds"); do
  echo "round $r of $rounds" >&2
  for t in "${targets[@]}"; do IFS='|' read -r name _ pid _ <<<"$t"
    "$tools/release/loadgen" acct "$pid" | sed "s/^{/{\"round\":$r,\"tag\":\"acct\",\"name\":\"$name\",/" >>"$out"; done
  for t in "${targets[@]}"; do load closed closed1 "$secs" "$t" "" --conns 1 --warm 1; sleep 0.3; done
  for t in "${targets[@]}"; do load closed closed64 "$secs" "$t" "" --conns 64 --warm 1; sleep 0.3; done
  for t in "${targets[@]}"; do quick "$t" || continue; load open open2000 "$long" "$t" "" --rate 2000 --conns 256 --warm 1; sleep 0.3; done
  for t in "${targets[@]}"; do quick "$t" || continue; load sse "sse$streams" "$long" "$t" -stream --conns "$streams" --warm 1.5; sleep 0.3; done
done
if [ "$many" -gt 0 ]; then
  r=1; echo "$many streams at once" >&2
  for t in "${targets[@]}"; do case ${t%%|*} in nginx|floor|coalmine) load sse "sse$many" 12 "$t" -stream --conns "$many" --warm 4; sleep 2;; esac; done
fi
python3 "$bench/report.py" "$out"
report=(python3 scripts/bench_report.py "$out" --machine "$machine" --versions "$versions" --about "$about" --seconds "$secs" --long "$long")
if [ $write = 1 ]; then "${report[@]}" --write docs; else "${report[@]}"; fi
echo "looks: no socket, one core"
cargo run --release --quiet -p coalmine-core --example looks
echo "pins and decisions: no socket, one core"
cargo run --release --quiet -p coalmine-gateway --example pins
