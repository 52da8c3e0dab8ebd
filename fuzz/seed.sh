#!/bin/sh
# Fills the corpora with the golden files, each behind the bytes that say how it is cut and what it is.
set -eu
cd "$(dirname "$0")"
golden=../crates/wire/src/openai/tests/golden
messages=../crates/wire/src/anthropic/tests/golden
responses=../crates/wire/src/responses/tests/golden
mkdir -p corpus/sse corpus/patch corpus/observer corpus/translate corpus/exposition corpus/websocket
cp ../crates/wire/src/golden/*.prom corpus/exposition/
for file in "$golden"/*.sse; do
    name=$(basename "$file")
    { printf '\007'; cat "$file"; } > "corpus/sse/$name"
    { printf '\016\000'; cat "$file"; } > "corpus/observer/$name"
done
for file in "$golden"/*.json; do
    { printf '\017\000'; cat "$file"; } > "corpus/observer/$(basename "$file")"
done
for file in "$golden"/requests/*.json; do
    cp "$file" "corpus/patch/$(basename "$file")"
done
for file in "$messages"/*.sse; do
    { printf '\016\001'; cat "$file"; } > "corpus/observer/messages-$(basename "$file")"
    { printf '\035'; cat "$file"; } > "corpus/translate/messages-$(basename "$file")"
done
for file in "$messages"/*.json; do
    { printf '\017\001'; cat "$file"; } > "corpus/observer/messages-$(basename "$file")"
    { printf '\037'; cat "$file"; } > "corpus/translate/messages-$(basename "$file")"
done
for file in "$golden"/*.sse; do
    { printf '\034'; cat "$file"; } > "corpus/translate/$(basename "$file")"
done
for file in "$golden"/*.json "$golden"/requests/*.json; do
    { printf '\036'; cat "$file"; } > "corpus/translate/$(basename "$file")"
done
for file in "$responses"/*.sse; do
    { printf '\016\002'; cat "$file"; } > "corpus/observer/responses-$(basename "$file")"
    { printf '\007'; cat "$file"; } > "corpus/sse/responses-$(basename "$file")"
done
for file in "$responses"/*.json; do
    { printf '\017\002'; cat "$file"; } > "corpus/observer/responses-$(basename "$file")"
done
printf '\017\003{"object":"list","data":[{"embedding":[0.1,-2e-3],"index":0},{"embedding":"AAAA","index":1}],"model":"m","usage":{"prompt_tokens":2,"total_tokens":2}}' > corpus/observer/embeddings.json
printf '\016\004data: {"choices":[{"text":"a","index":0,"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n' > corpus/observer/completions.sse
printf '\003\001\201\205\067\372\041\075\177\237\115\121\130' > corpus/websocket/hello
printf '\005\000\001\003Hel\211\001?\200\002lo\210\002\003\350' > corpus/websocket/pieces
printf '\007\002{"type":"session.update","session":{"type":"realtime","model":"r","instructions":"Help."}}' > corpus/websocket/update
printf '\007\003{"type":"response.done","response":{"id":"r","status":"completed","usage":{"input_tokens":1}}}' > corpus/websocket/done
