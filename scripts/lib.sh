# shellcheck shell=bash
# What the other scripts share: where we are, how to say what is done, how to find a tool.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf '\n== %s\n' "$*" >&2; }
die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

# need COMMAND PACKAGE…: installs Debian packages when the command is missing.
need() {
  local command=$1
  shift
  command -v "$command" >/dev/null || debian "$@"
}

# debian PACKAGE…: installs Debian packages.
debian() {
  command -v apt-get >/dev/null || die "$* is missing; install it and run again"
  say "installing $*"
  local as=()
  [ "$(id -u)" = 0 ] || as=(sudo)
  "${as[@]}" apt-get update -qq
  "${as[@]}" apt-get install -y -qq --no-install-recommends "$@"
}

# need_rust: the toolchain cannot be guessed; say where it comes from.
need_rust() {
  command -v cargo >/dev/null || die "cargo is missing; install Rust as https://rustup.rs says, then run again"
  need cc build-essential
}

# need_cargo TOOL CRATE: a cargo tool from its crate, once.
need_cargo() {
  command -v "$1" >/dev/null && return
  say "installing $2 (once)"
  cargo install --locked --quiet "$2"
}

# need_python_env FOLDER PACKAGE…: a Python environment with these packages, once.
need_python_env() {
  local folder=$1
  shift
  need python3 python3
  python3 -c 'import venv, ensurepip' 2>/dev/null || debian python3-venv
  [ -x "$folder/bin/python" ] || python3 -m venv "$folder"
  "$folder/bin/python" -m pip install --quiet --disable-pip-version-check "$@"
}
