#!/usr/bin/env bash
# What the SDK tests need, in tests/sdk: a Python environment with `openai`, and Node's packages.
# Does nothing where it is there already.
source "$(dirname "$0")/lib.sh"
[ -d tests/sdk ] || exit 0

need node nodejs
need npm npm
if [ -f tests/sdk/requirements.txt ]; then
  need python3 python3 python3-venv
  stamp=tests/sdk/.venv/stamp
  if ! cmp -s tests/sdk/requirements.txt "$stamp"; then
    say "Python packages of the SDK tests"
    python3 -m venv tests/sdk/.venv 2>/dev/null || {
      rm -rf tests/sdk/.venv
      need python3-venv-is-missing python3-venv || true
      python3 -m venv tests/sdk/.venv
    }
    tests/sdk/.venv/bin/pip install --quiet --requirement tests/sdk/requirements.txt
    cp tests/sdk/requirements.txt "$stamp"
  fi
fi
if [ -f tests/sdk/package-lock.json ]; then
  stamp=tests/sdk/node_modules/.stamp
  if ! cmp -s tests/sdk/package-lock.json "$stamp"; then
    say "Node packages of the SDK tests"
    npm ci --prefix tests/sdk --silent --no-audit --no-fund
    cp tests/sdk/package-lock.json "$stamp"
  fi
fi
