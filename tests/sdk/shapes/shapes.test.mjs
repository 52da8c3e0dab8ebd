// The same shapes by the unmodified SDKs of Node: each answer whole, as a stream, and each error, the same through Coalmine as directly.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";
import Anthropic from "@anthropic-ai/sdk";
import OpenAI from "openai";

const listed = "import json, chat, messages, responses; print(json.dumps([list(m.SHAPES) for m in (chat, messages, responses)]))";
const [CHAT, MESSAGES, RESPONSES] = JSON.parse(execFileSync("python3", ["-c", listed], { cwd: import.meta.dirname }));
const ways = [
  [process.env.SHAPES_DIRECT_URL, "gpt-4o-mini", "claude-sonnet-4-5"],
  [process.env.COALMINE_URL.replace(/\/v1$/, ""), "shapes-chat", "shapes-messages"],
].map(([url, chat, messages]) => ({
  openai: new OpenAI({ baseURL: `${url}/v1`, apiKey: "test-key", maxRetries: 0 }),
  anthropic: new Anthropic({ baseURL: url, apiKey: "test-key", maxRetries: 0 }),
  chat,
  messages,
}));
const user = [{ role: "user", content: "hi" }];
const shaped = (name, more = {}) => ({ headers: { "x-shape": name }, ...more });

// The gateway asks for usage itself, so that the chunks of a client that did not are told that theirs is null.
const plain = (value) => JSON.parse(JSON.stringify(value, (key, one) => (key === "usage" && one === null ? undefined : one)) ?? "null");
const raised = (error) => {
  const { name, status, code, type, param } = error;
  return { kind: error.constructor.name, name, status, code, type, param, told: error.error, id: error.requestID ?? error.request_id };
};
async function found(ask, way) {
  const out = [];
  const result = await Promise.resolve(ask(way, out)).catch(raised);
  return plain([out, result]);
}
async function same(ask) {
  const [direct, through] = [await found(ask, ways[0]), await found(ask, ways[1])];
  assert.deepEqual(through, direct);
}
async function each(out, stream) {
  for await (const event of await stream) out.push(event);
}
const chat = (way, more, options) => way.openai.chat.completions.create({ model: way.chat, messages: user, ...more }, options);
const said = (way, more, options) => way.anthropic.messages.create({ model: way.messages, max_tokens: 9, messages: user, ...more }, options);
const respond = (way, more, options) => way.openai.responses.create({ model: way.chat, input: "hi", ...more }, options);
const surfaces = { chat, said, respond };

for (const name of CHAT) {
  test(`chat completions: ${name}`, async () => {
    await same((way) => chat(way, {}, shaped(name)));
    for (const include_usage of [true, false]) {
      await same((way, out) => each(out, chat(way, { stream: true, stream_options: { include_usage } }, shaped(name))));
    }
    await same((way) => way.openai.chat.completions.stream({ model: way.chat, messages: user }, shaped(name)).finalChatCompletion());
  });
}
for (const name of MESSAGES) {
  test(`messages: ${name}`, async () => {
    await same((way) => said(way, {}, shaped(name)));
    await same(async (way, out) => {
      const stream = way.anthropic.messages.stream({ model: way.messages, max_tokens: 9, messages: user }, shaped(name));
      await each(out, stream);
      return stream.finalMessage();
    });
  });
}
for (const name of RESPONSES.filter((name) => name !== "queued")) {
  test(`responses: ${name}`, async () => {
    await same((way) => respond(way, {}, shaped(name)));
    await same((way, out) => each(out, respond(way, { stream: true }, shaped(name))));
  });
}
for (const [surface, ask] of Object.entries(surfaces)) {
  test(`errors on ${surface}`, async () => {
    for (const status of [400, 401, 403, 404, 409, 413, 422, 429, 500, 503, 529]) await same((way) => ask(way, {}, shaped(String(status))));
    await same((way, out) => each(out, ask(way, { stream: true }, shaped("midway"))));
  });
  test(`a time-out and an abort on ${surface}`, async () => {
    await same((way) => ask(way, {}, shaped("slow", { timeout: 250 })));
    await same((way, out) => each(out, ask(way, { stream: true }, shaped("stalls", { signal: AbortSignal.timeout(250) }))));
  });
}
