#!/usr/bin/env bash
# make instructions: what a 2 KB chat request costs Coalmine, counted in instructions of the processor and not in time, so that a
# busy machine counts the same as an idle one. Says how many by thread, and which functions take the most.
# usage: scripts/instructions.sh [BINARY]; STREAM=1 counts a streamed answer, SECS=20 how long is counted.
# BENCH names the folder with the mock upstream and the load generator (default ../shared/bench).
source "$(dirname "$0")/lib.sh"
need_rust
need valgrind valgrind
need python3 python3
bench=$(realpath "${BENCH:-../shared/bench}") || die "name the harness with BENCH=DIR"
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
tools=$target/bench-tools
if [ $# -gt 0 ]; then
  bin=$(realpath "$1")
else
  say "building"
  cargo build --profile quick --quiet --package coalmine
  bin=$target/quick/coalmine
fi
for tool in mock loadgen; do
  [ -x "$tools/release/$tool" ] && continue
  rm -rf "$tools/src-$tool" && mkdir -p "$tools" && cp -r "$bench/$tool" "$tools/src-$tool" && chmod -R u+w "$tools/src-$tool"
  (cd "$tools/src-$tool" && CARGO_TARGET_DIR=$tools cargo build --release --quiet)
done

work=$(mktemp -d)
pids=()
finish() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  wait 2>/dev/null || true
  rm -rf "$work"
}
trap finish EXIT
url=http://127.0.0.1:9104
"$tools/release/mock" --ports 9001,9002 --threads 1 &
pids+=($!)
cp benches/gateway/*.yaml "$work/"
(cd "$work" && exec valgrind --tool=callgrind --instr-atstart=no --separate-threads=yes --callgrind-out-file="$work/counted" \
  "$bin" serve --config coalmine.yaml >coalmine.log 2>&1) &
coalmine=$!
pids+=("$coalmine")
say "starting Coalmine under callgrind, which takes a while"
for _ in $(seq 300); do
  sleep 0.3
  "$bin" status --url $url >/dev/null 2>&1 && break
done
"$bin" start "$work/release.yaml" --url $url >/dev/null
key=$("$bin" key create bench --url $url --json | python3 -c 'import json,sys; print(json.load(sys.stdin)["secret"])')
python3 - "${STREAM:-}" >"$work/body.json" <<'PY'
import json, sys
text = "Explain what a canary release is and why a team would use one for language models. " * 19
said = [{"role": "system", "content": "You are a careful assistant that answers briefly."}, {"role": "user", "content": text}]
stream = {"stream": True} if sys.argv[1] else {}
print(json.dumps({"model": "bench", "messages": said, "max_tokens": 256, "temperature": 0.7, "user": "u-1", **stream}))
PY
mode=closed
[ -z "${STREAM:-}" ] || mode=sse
ask() {
  "$tools/release/loadgen" $mode --url $url/v1/chat/completions --model bench --body "@$work/body.json" --pid "$coalmine" --name coalmine \
    --secs "$1" --warm 0 --header "authorization: Bearer $key" --conns 4
}
ask 5 >/dev/null
callgrind_control -i on "$coalmine" >/dev/null 2>&1
say "counting for ${SECS:-20} s"
ask "${SECS:-20}" >"$work/asked.json"
callgrind_control -i off "$coalmine" >/dev/null 2>&1
kill "$coalmine"
wait "$coalmine" 2>/dev/null || true
python3 - "$work" <<'PY'
import collections, glob, json, re, subprocess, sys
work = sys.argv[1]
asked = json.load(open(f"{work}/asked.json"))
n = asked["ok"]
if not n:
    sys.exit(f"error: no request was answered: {asked}")
threads, functions = [], collections.Counter()
for file in sorted(glob.glob(f"{work}/counted-*")):
    told = subprocess.run(["callgrind_annotate", "--threshold=100", file], capture_output=True, text=True).stdout
    total = re.search(r"([\d,]+) \(100.0%\)\s+PROGRAM TOTALS", told)
    if not total:
        continue
    threads.append(int(total[1].replace(",", "")))
    for count, name in re.findall(r"^\s*([\d,]+) \(\s*[\d.]+%\)\s+(?:\?\?\?:)?(.*?)(?: \[.*)?$", told.split("file:function")[-1], re.M):
        functions[name] += int(count.replace(",", ""))
print(f"{n:,} requests, {sum(threads) / n:,.0f} instructions each, failed {asked['bad'] + asked['io']}")
print("by thread:", ", ".join(f"{count / n:,.0f}" for count in sorted(threads, reverse=True) if count > n))
for name, count in functions.most_common(25):
    print(f"{count / n:>10,.0f}  {name[:110]}")
PY
