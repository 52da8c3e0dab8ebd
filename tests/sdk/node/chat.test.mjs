// The unmodified openai SDK through Coalmine and directly against the same mock: the same results.
// DIRECT_URL and COALMINE_URL name the two base URLs; the model is a real name on the direct path and
// the route's name through Coalmine.
import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";

const direct = new OpenAI({ baseURL: process.env.DIRECT_URL, apiKey: "test-key", maxRetries: 0 });
const through = new OpenAI({ baseURL: process.env.COALMINE_URL, apiKey: "test-key", maxRetries: 0 });
const MODEL = new Map([[direct, "gpt-4o-mini"], [through, "support"]]);

const tools = [{
  type: "function",
  function: {
    name: "get_weather",
    description: "The weather in a city",
    parameters: { type: "object", properties: { city: { type: "string" }, unit: { type: "string" } }, required: ["city"] },
  },
}];
const user = (content) => [{ role: "user", content }];

/** Everything of an answer but what names the single answer or the moment. */
function lasting(completion) {
  const { id, created, system_fingerprint, ...rest } = completion;
  const choices = rest.choices.map((choice) => ({
    ...choice,
    message: { ...choice.message, tool_calls: choice.message.tool_calls?.map(({ id: _, ...call }) => call) },
  }));
  return { ...rest, choices };
}

async function collect(stream) {
  const seen = { text: "", calls: {}, finish: [], usage: null, chunks: 0, roles: [], models: new Set() };
  for await (const chunk of stream) {
    seen.chunks += 1;
    seen.models.add(chunk.model);
    if (chunk.usage) seen.usage = chunk.usage;
    for (const choice of chunk.choices) {
      if (choice.delta.role) seen.roles.push(choice.delta.role);
      seen.text += choice.delta.content ?? "";
      if (choice.finish_reason) seen.finish.push(choice.finish_reason);
      for (const call of choice.delta.tool_calls ?? []) {
        const slot = (seen.calls[call.index] ??= { name: "", arguments: "" });
        slot.name += call.function?.name ?? "";
        slot.arguments += call.function?.arguments ?? "";
      }
    }
  }
  return { ...seen, models: [...seen.models] };
}

/** Runs `ask` on both paths and holds the two results against each other. */
async function same(ask) {
  const [plain, routed] = [await ask(direct, MODEL.get(direct)), await ask(through, MODEL.get(through))];
  assert.deepEqual(routed, plain);
  return routed;
}

test("a plain answer", async () => {
  const answer = await same(async (client, model) => lasting(await client.chat.completions.create({ model, messages: user("say hello") })));
  assert.match(answer.choices[0].message.content, /你好/);
});

test("a streamed answer, chunk for chunk", async () => {
  const answer = await same(async (client, model) => collect(await client.chat.completions.create({ model, messages: user("a long story"), stream: true })));
  assert.ok(answer.chunks > 5);
  assert.equal(answer.usage, null, "usage that was not asked for does not show");
});

test("a streamed answer with usage", async () => {
  const answer = await same(async (client, model) =>
    collect(await client.chat.completions.create({ model, messages: user("say hello"), stream: true, stream_options: { include_usage: true } })));
  assert.ok(answer.usage.completion_tokens > 0);
});

test("tools, whole and streamed, and the turn after", async () => {
  const whole = await same(async (client, model) => lasting(await client.chat.completions.create({ model, messages: user("what is the weather"), tools })));
  assert.equal(whole.choices[0].finish_reason, "tool_calls");
  const streamed = await same(async (client, model) => collect(await client.chat.completions.create({ model, messages: user("two tools"), tools, stream: true })));
  assert.equal(Object.keys(streamed.calls).length, 2);
  await same(async (client, model) => {
    const first = await client.chat.completions.create({ model, messages: user("what is the weather"), tools });
    const call = first.choices[0].message;
    const result = { role: "tool", tool_call_id: call.tool_calls[0].id, content: "21 degrees" };
    return lasting(await client.chat.completions.create({ model, messages: [...user("what is the weather"), call, result], tools }));
  });
});

test("structured output", async () => {
  const schema = { type: "object", properties: { city: { type: "string" }, degrees: { type: "number" } }, required: ["city", "degrees"], additionalProperties: false };
  const response_format = { type: "json_schema", json_schema: { name: "weather", strict: true, schema } };
  const answer = await same(async (client, model) => lasting(await client.chat.completions.parse({ model, messages: user("as json"), response_format })));
  assert.equal(answer.choices[0].message.parsed.degrees, 21);
});

for (const [what, prompt, status] of [["429", "too many", 429], ["400", "bad request", 400], ["500", "fall over", 500]]) {
  test(`the error ${what} arrives as it was sent`, async () => {
    const fail = async (client, model) => {
      const error = await client.chat.completions.create({ model, messages: user(prompt) }).then(() => assert.fail("it should fail"), (e) => e);
      return { name: error.constructor.name, status: error.status, code: error.code, type: error.type, message: error.message };
    };
    assert.equal((await same(fail)).status, status);
  });
}

test("a client that leaves in mid-stream is let go", async () => {
  const stream = await through.chat.completions.create({ model: "support", messages: user("a long story"), stream: true });
  for await (const chunk of stream) {
    assert.ok(chunk.id);
    break;
  }
  const after = await through.chat.completions.create({ model: "support", messages: user("say hello") });
  assert.ok(after.choices[0].message.content.length > 0);
});

test("a conversation without any session header stays on one version", async () => {
  const asked = (messages) => through.chat.completions.create({ model: "support", messages }).withResponse();
  // Its own words: to the same opening with the same answer from both versions nobody could tell whose it is.
  const opening = user(`say hello, this is ${crypto.randomUUID()}`);
  const first = await asked(opening);
  const second = await asked([...opening, first.data.choices[0].message, ...user("and again")]);
  assert.equal(second.response.headers.get("x-coalmine-version"), first.response.headers.get("x-coalmine-version"));
  assert.equal(second.response.headers.get("x-coalmine-session"), first.response.headers.get("x-coalmine-session"));
});

test("a model that names no route is told so in the wire format", async () => {
  const error = await through.chat.completions.create({ model: "nobody", messages: user("say hello") }).then(() => assert.fail(), (e) => e);
  assert.equal(error.status, 404);
  assert.match(error.message, /support/, "the known routes are listed");
});

test("models lists the routes", async () => {
  const models = [];
  for await (const model of through.models.list()) models.push(model.id);
  assert.ok(models.includes("support"));
});

test("what is not chat passes through", async () => {
  const input = "the quick brown fox";
  const embed = (client, model) => client.embeddings.create({ model, input }).then((e) => e.data[0].embedding.length);
  assert.equal(await embed(through, "support"), await embed(direct, "text-embedding-3-small"));
});
