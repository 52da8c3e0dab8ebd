// The unmodified @anthropic-ai/sdk through Coalmine and directly against the same mock: the same results; and against a
// route whose provider speaks chat completions.
import assert from "node:assert/strict";
import test from "node:test";
import Anthropic from "@anthropic-ai/sdk";

const client = (url, more = {}) =>
  new Anthropic({ baseURL: url.replace(/\/v1$/, ""), apiKey: "test-key", maxRetries: 0, ...more });
const direct = client(process.env.DIRECT_URL);
const through = client(process.env.COALMINE_URL);
const native = [
  [direct, "claude-sonnet-4-5"],
  [through, "helpdesk"],
];
const tools = [
  {
    name: "get_weather",
    description: "The weather in a city",
    input_schema: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  },
];
const body = (model, content, more = {}) => ({ model, max_tokens: 500, messages: [{ role: "user", content }], ...more });

// Everything of an answer but what names the single answer.
const lasting = ({ id, model, content, ...rest }) => ({ ...rest, content: content.map(({ id, ...block }) => block) });
const said = (message) => [
  message.content.map((block) => block.text ?? [block.name, block.input]),
  message.stop_reason,
];
const same = async (ask) => {
  const [plain, routed] = await Promise.all(native.map(([c, m]) => ask(c, m)));
  assert.deepEqual(routed, plain);
  return plain;
};

test("a plain answer", async () => {
  const answer = await same(async (c, m) => lasting(await c.messages.create(body(m, "say hello"))));
  assert.match(answer.content[0].text, /你好/);
});

test("a stream", async () => {
  const answer = await same(async (c, m) => {
    const kinds = [];
    const stream = c.messages.stream(body(m, "a long story"));
    for await (const event of stream) kinds.push(event.type);
    return [kinds, lasting(await stream.finalMessage())];
  });
  assert.equal(answer[0].at(-1), "message_stop");
});

test("tools, streamed and not", async () => {
  await same(async (c, m) => lasting(await c.messages.create(body(m, "what is the weather", { tools }))));
  const two = await same(async (c, m) => lasting(await c.messages.stream(body(m, "two tools", { tools })).finalMessage()));
  assert.equal(two.content.filter((block) => block.type === "tool_use").length, 2);
});

test("errors arrive as they were sent", async () => {
  for (const prompt of ["too many", "bad request", "fall over"]) {
    const failed = await same(async (c, m) => {
      const error = await c.messages.create(body(m, prompt)).then(() => assert.fail(prompt), (error) => error);
      return [error.constructor.name, error.status, error.error];
    });
    assert.ok(failed[1] >= 400);
  }
});

test("an abort leaves the next request whole", async () => {
  const stream = through.messages.stream(body("helpdesk", "a long story"));
  stream.on("error", () => {});
  for await (const _ of stream) break;
  stream.abort();
  const after = await through.messages.create(body("helpdesk", "say hello"));
  assert.equal(after.stop_reason, "end_turn");
});

test("a provider of chat completions answers in the words of messages", async () => {
  for (const [prompt, more] of [["say hello", {}], ["a long story", {}], ["two tools", { tools }]]) {
    const plain = said(await direct.messages.create(body("claude-sonnet-4-5", prompt, more)));
    assert.deepEqual(said(await through.messages.create(body("support", prompt, more))), plain);
    assert.deepEqual(said(await through.messages.stream(body("support", prompt, more)).finalMessage()), plain);
  }
});
