#!/usr/bin/env bash
# The pages under /ui/ of the real binary in a real browser: one on the path, else one that npm brings.
# usage: scripts/browser.sh [path of the coalmine binary]   (SHOTS=folder keeps pictures of the pages)
source "$(dirname "$0")/lib.sh"
bin=$(realpath "${1:-target/quick/coalmine}")
[ -x "$bin" ] || die "no binary at $bin"
need node nodejs
need npm npm

home=tests/browser
omit=()
for name in chromium chromium-browser google-chrome google-chrome-stable chrome; do
  if command -v "$name" >/dev/null; then omit=(--omit=dev) && break; fi
done
[ -z "${BROWSER_BIN:-}" ] || omit=(--omit=dev)
# A browser that is there already, ours or the machine's, is not brought again.
stamp=$home/node_modules/.stamp
wanted="$(sha256sum <$home/package-lock.json) ${omit[*]:-with a browser}"
if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
  say "Node packages of the browser tests"
  npm ci --prefix $home --silent --no-audit --no-fund "${omit[@]}"
  printf '%s' "$wanted" >"$stamp"
fi
cd $home
COALMINE_BIN=$bin exec node --test --test-reporter=spec
