#!/bin/sh
# Fills the corpora with the golden files, each behind the byte that says how it is cut.
set -eu
cd "$(dirname "$0")"
golden=../crates/wire/src/openai/tests/golden
messages=../crates/wire/src/anthropic/tests/golden
mkdir -p corpus/sse corpus/patch corpus/observer corpus/translate
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
for file in "$messages"/*.sse; do
    { printf '\216'; cat "$file"; } > "corpus/observer/messages-$(basename "$file")"
    { printf '\035'; cat "$file"; } > "corpus/translate/messages-$(basename "$file")"
done
for file in "$messages"/*.json; do
    { printf '\217'; cat "$file"; } > "corpus/observer/messages-$(basename "$file")"
    { printf '\037'; cat "$file"; } > "corpus/translate/messages-$(basename "$file")"
done
for file in "$golden"/*.sse; do
    { printf '\034'; cat "$file"; } > "corpus/translate/$(basename "$file")"
done
for file in "$golden"/*.json "$golden"/requests/*.json; do
    { printf '\036'; cat "$file"; } > "corpus/translate/$(basename "$file")"
done
