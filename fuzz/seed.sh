#!/bin/sh
# Fills the corpora with the golden files, each behind the bytes by which a target knows what it is, and with every finding.
set -eu
cd "$(dirname "$0")"
wire=../crates/wire/src
put() { # put TARGET NAME HEAD [FILE]: what HEAD says and then the file
    mkdir -p "corpus/$1"
    { printf "$3"; [ -z "${4:-}" ] || cat "$4"; } > "corpus/$1/$2"
}
dialect=0
for folder in openai anthropic responses; do
    for file in "$wire/$folder"/tests/golden/*.sse; do
        name=$folder-$(basename "$file")
        put sse "$name" '' "$file"
        put observer "$name" "\\000\\00$dialect" "$file"
        [ $dialect = 2 ] || put translate "$name" "\\00$dialect" "$file"
    done
    for file in "$wire/$folder"/tests/golden/*.json; do
        name=$folder-$(basename "$file")
        put observer "$name" "\\001\\00$dialect" "$file"
        put patch "$name" '' "$file"
        put replies "$name" '\003' "$file"
        if [ $dialect != 2 ]; then
            put translate "$name" "\\00$((4 + dialect))" "$file"
            put translate "error-$name" "\\00$((6 + dialect))" "$file"
        fi
    done
    dialect=$((dialect + 1))
done
for file in "$wire"/openai/tests/golden/requests/*.json; do
    put patch "$(basename "$file")" '' "$file"
    put translate "request-$(basename "$file")" '\004' "$file"
    put replies "$(basename "$file")" '\002' "$file"
done
for file in "$wire"/golden/*.prom; do
    put replies "$(basename "$file")" '\000' "$file"
done
put replies verdict '\001{"reason":"x","verdict":"pass"} ```{"score": 4, "verdict": "tie"}```'
put replies embeddings '\003{"data":[{"index":1,"embedding":[0.1,2]},{"index":0,"embedding":[1,2]}],"pass":true,"score":0.5}'
put patch messages '{"model":"m","max_tokens":9,"system":[{"type":"text","text":"s","cache_control":{"type":"ephemeral"}}],"messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":"c"}]}],"tools":[{"name":"f","input_schema":{}}]}'
put patch responses '{"model":"m","instructions":null,"input":[{"role":"developer","content":[{"type":"input_text","text":"a"}]},{"type":"function_call","call_id":"c","name":"f","arguments":"{}"}],"reasoning":{"effort":"high"},"text":{"format":{"type":"text"}}}'
put translate messages '\005{"model":"m","max_tokens":9,"system":"s","messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AA"}}]}],"tools":[{"name":"f","input_schema":{}}],"tool_choice":{"type":"any"}}'
put observer embeddings '\001\003{"object":"list","data":[{"embedding":[0.1,-2e-3],"index":0},{"embedding":"AAAA","index":1}],"model":"m","usage":{"prompt_tokens":2,"total_tokens":2}}'
put observer completions '\000\004data: {"choices":[{"text":"a","index":0,"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
put websocket pieces '\000\001\003Hel\211\001?\200\002lo\210\002\003\350'
put websocket hello '\001\201\205\067\372\041\075\177\237\115\121\130'
put websocket update '\002{"type":"session.update","session":{"type":"realtime","model":"r","instructions":"Help."}}'
put websocket done '\003{"type":"response.done","response":{"id":"r","status":"completed","usage":{"input_tokens":1}}}'
put websocket protocols '\004realtime, openai-insecure-api-key.k, openai-project.p'
put form model 'multipart/form-data; boundary=x7\n--x7\r\ncontent-disposition: form-data; name="file"; filename="a\\\\b"\r\n\r\nab\r\n--x7\r\ncontent-disposition: form-data; name=model\r\n\r\nwhisper\r\n--x7--\r\n'
put schema list '{"type":"array","items":{"type":"string","pattern":"^a"},"uniqueItems":true}\n["a","ab"]'
put schema tree '{"$defs":{"a":{"properties":{"b":{"$ref":"#/$defs/a"}},"unevaluatedProperties":false,"allOf":[{"required":["b"]}]}},"anyOf":[{"$ref":"#/$defs/a"},{"enum":[1,null]}],"if":{"const":1},"then":{"not":{}}}\n{"b":{"b":{}}}'
put schema tools '[{"type":"function","function":{"name":"f","parameters":{"dependentSchemas":{"a":{"minProperties":2}},"format":"date"}}},{"type":"custom","custom":{"name":"f"}}]\n{"a":1}'
put edge addresses '\000198.51.100.1, "10.0.0.1:80", [2001:db8::7]\nfor="[::1]:1";by=10.0.0.1'
put edge trace '\00100-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
put edge pause '\002Wed, 21 Oct 2026 07:28:00 GMT\n1.5'
put edge id '\003cmr_AQAAAAAAAAAAAAAA'
put edge query '\004intent=x&model=support%%2Fa+b&model=c'
put edge logs '\005{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"eventName":"gen_ai.evaluation.result","spanId":"ab","attributes":[{"key":"gen_ai.evaluation.name","value":{"stringValue":"correct"}},{"key":"gen_ai.evaluation.score.value","value":{"doubleValue":"0.5"}}]}]}]}]}'
put edge protobuf '\005\012\023\022\021\022\017\142\003a.b\062\010\012\001k\022\003\012\001v'
put edge scores '\006[{"model":"m","session_id":"s","metrics":{"correct":1,"ok":true},"id":3},{"request_id":"cmr_","name":"n","value":0.5}]'
put edge variables '\007{"company":"Globex \\"East\\"","\\u0061":"\\ud83d\\ude00 {{b}}","b":""}'
config=../crates/app/src/config/golden
put config process '' "$config/process.yaml"
put config example '' ../examples/coalmine.yaml
put release release '\000' "$config/release.yaml"
put release example '\000' ../examples/release.yaml
put release suite '\001' "$config/suite.yaml"
put release judge '\002' "$config/judge.yaml"
for file in findings/*/*.bin; do
    put "$(basename "$(dirname "$file")")" "finding-$(basename "$file")" '' "$file"
done
put answer chunks 'HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2;e=1\r\nbo\r\nA\r\n0123456789\r\n0\r\nx-after: 1\r\n\r\n'
put answer length 'HTTP/1.1 200 OK\r\ncontent-length: 4, 4\r\nconnection: keep-alive\r\n\r\nbody'
put answer closed 'HTTP/1.0 429 \r\nretry-after: 1\r\n\r\nslow down'
