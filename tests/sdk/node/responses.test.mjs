// Responses and embeddings of the unmodified openai SDK, through Coalmine and directly: the same results.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";
import OpenAI from "openai";

const direct = new OpenAI({ baseURL: process.env.DIRECT_URL, apiKey: "test-key", maxRetries: 0 });
const through = new OpenAI({ baseURL: process.env.COALMINE_URL, apiKey: "test-key", maxRetries: 0 });
const MODEL = new Map([[direct, "gpt-4o-mini"], [through, "support"]]);

async function same(ask) {
  const seen = [];
  for (const client of [direct, through]) seen.push(await ask(client, MODEL.get(client)));
  assert.deepEqual(seen[1], seen[0]);
  return seen[1];
}

test("a response", async () => {
  const [text] = await same(async (client, model) => {
    const answer = await client.responses.create({ model, input: "say hello" });
    return [answer.output_text, answer.status, answer.usage?.output_tokens];
  });
  assert.match(text, /안녕하세요/);
});

test("a response as a stream has the same events", async () => {
  const [text, kinds] = await same(async (client, model) => {
    let text = "";
    const kinds = [];
    for await (const event of await client.responses.create({ model, input: "say hello", stream: true })) {
      kinds.push(event.type);
      if (event.type === "response.output_text.delta") text += event.delta;
    }
    return [text, kinds];
  });
  assert.match(text, /👋/);
  assert.equal(kinds.at(-1), "response.completed");
});

test("what goes on from a response stays on its version", async () => {
  const first = await through.responses.create({ model: "support", input: `say hello, this is ${randomUUID()}` }).withResponse();
  const more = { model: "support", input: "and again", previous_response_id: first.data.id };
  const second = await through.responses.create(more).withResponse();
  for (const name of ["x-coalmine-version", "x-coalmine-session", "x-coalmine-arm"]) {
    assert.equal(second.response.headers.get(name), first.response.headers.get(name), name);
  }
});

test("embeddings", async () => {
  const vectors = await same(async (client, model) => {
    const answer = await client.embeddings.create({ model, input: ["say hello", "and again"] });
    return answer.data.map((item) => item.embedding);
  });
  assert.equal(vectors.length, 2);
});
