#!/bin/sh
# Fills the corpora with the golden files, each behind the byte that says how it is cut.
set -eu
cd "$(dirname "$0")"
golden=../crates/wire/src/openai/tests/golden
mkdir -p corpus/sse corpus/patch corpus/observer
for file in "$golden"/*.sse; do
    name=$(basename "$file")
    { printf '\007'; cat "$file"; } > "corpus/sse/$name"
    { printf '\016'; cat "$file"; } > "corpus/observer/$name"
done
for file in "$golden"/*.json; do
    { printf '\017'; cat "$file"; } > "corpus/observer/$(basename "$file")"
done
for file in "$golden"/requests/*.json; do
    cp "$file" "corpus/patch/$(basename "$file")"
done
