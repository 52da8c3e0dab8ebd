#!/usr/bin/env bash
# What the SDK tests need, in tests/sdk: a Python environment and Node's packages, with the SDKs and frameworks.
# Does nothing where it is there already.
source "$(dirname "$0")/lib.sh"
[ -d tests/sdk ] || exit 0

need node nodejs
need npm npm
if [ -f tests/sdk/requirements.txt ]; then
  need_python_env tests/sdk/.venv --requirement tests/sdk/requirements.txt
fi
if [ -f tests/sdk/package-lock.json ]; then
  stamp=tests/sdk/node_modules/.stamp
  if ! cmp -s tests/sdk/package-lock.json "$stamp"; then
    say "Node packages of the SDK tests"
    npm ci --prefix tests/sdk --silent --no-audit --no-fund
    cp tests/sdk/package-lock.json "$stamp"
  fi
fi
