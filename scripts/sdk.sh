#!/usr/bin/env bash
# Unmodified SDKs against the real binary in front of a third-party mock provider, and against the mock directly; and in front of
# a provider that has the shapes which the mock lacks.
# usage: scripts/sdk.sh [path of the coalmine binary]
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$(realpath "${1:-target/quick/coalmine}")
sdk=tests/sdk
work=$(mktemp -d)
pids=()
finish() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  wait 2>/dev/null || true
  rm -rf "$work"
}
trap finish EXIT

port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
answers() { # url seconds
  for _ in $(seq $(($2 * 20))); do
    if python3 -c 'import sys, urllib.request; urllib.request.urlopen(sys.argv[1], timeout=1)' "$1" 2>/dev/null; then return 0; fi
    sleep 0.05
  done
  echo "nothing answers at $1 after $2 s" >&2
  return 1
}

scripts/sdk-setup.sh
export COALMINE_TOKEN=sdk-tests-token
mock_port=$(port)
shapes_port=$(port)
coalmine_port=$(port)
$sdk/node_modules/.bin/llmock -p "$mock_port" -f $sdk/fixtures/chat.json --log-level warn >"$work/mock.log" 2>&1 &
pids+=($!)
python3 $sdk/shapes/provider.py "$shapes_port" >"$work/shapes.log" 2>&1 &
pids+=($!)
sed -e "s/@COALMINE@/$coalmine_port/; s/@MOCK@/$mock_port/; s/@SHAPES@/$shapes_port/" $sdk/coalmine.yaml >"$work/coalmine.yaml"
cp $sdk/release*.yaml "$work/"
(cd "$work" && exec "$bin" serve --config coalmine.yaml >coalmine.log 2>&1) &
pids+=($!)
answers "http://127.0.0.1:$mock_port/v1/models" 20
answers "http://127.0.0.1:$shapes_port/__sent" 20
answers "http://127.0.0.1:$coalmine_port/readyz" 20
for release in $(cd $sdk && ls release*.yaml); do
  (cd "$work" && "$bin" start $release --url "http://127.0.0.1:$coalmine_port" >/dev/null)
done

export DIRECT_URL=http://127.0.0.1:$mock_port/v1 COALMINE_URL=http://127.0.0.1:$coalmine_port/v1
export SHAPES_DIRECT_URL=http://127.0.0.1:$shapes_port
status=0
# Several rounds, so that both arms answer each of the tests.
for round in 1 2 3; do
  echo "sdk: round $round"
  (cd $sdk && node --test node/) || status=1
  $sdk/.venv/bin/python -m unittest discover -s $sdk/python || status=1
  [ $status = 0 ] || break
done
echo "sdk: shapes"
(cd $sdk && node --test shapes/) || status=1
$sdk/.venv/bin/python -W ignore -m unittest discover -s $sdk/shapes || status=1
echo "sdk: frameworks"
$sdk/.venv/bin/python -W ignore -m unittest discover -s $sdk/frameworks || status=1
if [ $status != 0 ]; then
  echo "--- coalmine.log"; tail -40 "$work/coalmine.log"
  echo "--- mock.log"; tail -20 "$work/mock.log"
  echo "--- shapes.log"; tail -20 "$work/shapes.log"
fi
exit $status
