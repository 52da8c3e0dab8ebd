// Vercel's AI SDK, unmodified, with its providers for OpenAI (chat completions and responses), for servers that speak like
// OpenAI, and for Anthropic: through Coalmine and directly against the same mock, the same results; there also on routes whose
// canary sits with a provider of the other dialect.
import assert from "node:assert/strict";
import { test } from "node:test";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { APICallError, embedMany, generateText, Output, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const apiKey = "test-key";
const PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
const DIRECT = { baseURL: process.env.DIRECT_URL, chat: "gpt-4o-mini", messages: "claude-sonnet-4-5", embeddings: "text-embedding-3-small" };
const THROUGH = { baseURL: process.env.COALMINE_URL, chat: "support", messages: "claude-sonnet-4-5", embeddings: "support" };
const CROSSED = { baseURL: process.env.COALMINE_URL, chat: "crossed-support", messages: "claude-opus-4-5" };
const MODELS = {
  chat: ({ baseURL, chat }) => createOpenAI({ baseURL, apiKey }).chat(chat),
  responses: ({ baseURL, chat }) => createOpenAI({ baseURL, apiKey }).responses(chat),
  compatible: ({ baseURL, chat }) =>
    createOpenAICompatible({ name: "own", baseURL, apiKey, includeUsage: true, supportsStructuredOutputs: true })(chat),
  anthropic: ({ baseURL, messages }) => createAnthropic({ baseURL, apiKey })(messages),
};
const tools = {
  get_weather: tool({
    description: "The weather in a city",
    inputSchema: z.object({ city: z.string(), unit: z.string().optional() }),
    execute: async ({ city, unit }) => `21 degrees ${unit} in ${city}`,
  }),
};

function lasting({ text, finishReason, usage, steps }) {
  const made = steps.map((step) => ({
    calls: step.toolCalls.map(({ toolName, input }) => ({ toolName, input })),
    results: step.toolResults.map(({ output }) => output),
  }));
  const { inputTokens, outputTokens, totalTokens } = usage;
  return { text, finishReason, tokens: { inputTokens, outputTokens, totalTokens }, made };
}

async function finished(result) {
  const [text, finishReason, usage, steps] = await Promise.all([result.text, result.finishReason, result.usage, result.steps]);
  return lasting({ text, finishReason, usage, steps });
}

/** How many requests each arm of Coalmine's routes has had so far. */
async function answered() {
  const page = await (await fetch(new URL("/metrics", process.env.COALMINE_URL))).text();
  const counts = { stable: 0, canary: 0 };
  for (const [, arm, count] of page.matchAll(/^coalmine_requests_total\{[^}]*\barm="(\w+)"[^}]*\} (\d+)/gm)) {
    // the control is that part of stable's sessions which the canary's are compared with
    counts[arm === "control" ? "stable" : arm] += Number(count);
  }
  return counts;
}

/** Asks until both arms have answered: half of the sessions are the canary's. */
async function inBothArms(ask, rounds = 30) {
  const left = new Set(["stable", "canary"]);
  for (let round = 0; round < rounds && left.size > 0; round += 1) {
    const before = await answered();
    await ask();
    const after = await answered();
    for (const arm of left) if (after[arm] > before[arm]) left.delete(arm);
  }
  assert.deepEqual([...left], [], "an arm has answered nothing");
}

/** A case for each of the models: asked on all paths, it must find the same. `crossed` is what of it is the same where the
 * canary speaks the other dialect. */
function each(name, check, crossed = (found) => found) {
  for (const [kind, model] of Object.entries(MODELS)) {
    test(`${kind}: ${name}`, async () => {
      const [plain, routed] = [await check(model(DIRECT)), await check(model(THROUGH))];
      assert.deepEqual(routed, plain);
      if (kind === "responses") return; // is not translated
      await inBothArms(async () => assert.deepEqual(crossed(await check(model(CROSSED))), crossed(plain)));
    });
  }
}

const quiet = { maxRetries: 0 };

each("a plain answer", async (model) => {
  const answer = lasting(await generateText({ model, system: "Be kind.", prompt: "say hello", ...quiet }));
  assert.match(answer.text, /你好/);
  return answer;
});

each("a streamed answer, part for part", async (model) => {
  const result = streamText({ model, prompt: "a long story", ...quiet });
  const parts = [];
  for await (const part of result.fullStream) parts.push(part.type === "text-delta" ? part.text : part.type);
  assert.ok(parts.length > 5);
  return { parts, whole: await finished(result) };
});

each("a loop of tools", async (model) => {
  const answer = lasting(await generateText({ model, tools, prompt: "what is the weather", stopWhen: stepCountIs(3), ...quiet }));
  assert.equal(answer.text, "It is 21 degrees and sunny in Zürich.");
  assert.deepEqual(answer.made[0].results, ["21 degrees celsius in Zürich"]);
  return answer;
});

each("a streamed loop of tools", async (model) => {
  const result = streamText({ model, tools, prompt: "what is the weather", stopWhen: stepCountIs(3), ...quiet });
  await result.consumeStream();
  const answer = await finished(result);
  assert.equal(answer.made.length, 2);
  return answer;
});

each("tools at once", async (model) => {
  const asked = { model, tools, prompt: "two tools", stopWhen: stepCountIs(3), ...quiet };
  const [whole, streamed] = [lasting(await generateText(asked)), streamText(asked)];
  await streamed.consumeStream();
  assert.deepEqual(whole.made[0].calls.map(({ input }) => input.city), ["Oslo", "Lima"]);
  assert.equal(whole.text, "It is 4 degrees in Oslo and 19 in Lima.");
  return { whole, streamed: await finished(streamed) };
});

each("structured output", async (model) => {
  const output = Output.object({ schema: z.object({ city: z.string(), degrees: z.number() }) });
  const answer = await generateText({ model, output, prompt: "as json", ...quiet });
  assert.deepEqual(answer.output, { city: "Zürich", degrees: 21 });
  const streamed = streamText({ model, output, prompt: "as json", ...quiet });
  assert.deepEqual(await streamed.output, answer.output);
  return lasting(answer);
});

each("a picture", async (model) => {
  const content = [{ type: "text", text: "say hello" }, { type: "image", image: PNG, mediaType: "image/png" }];
  return lasting(await generateText({ model, messages: [{ role: "user", content }], ...quiet }));
});

for (const [prompt, status] of [["too many", 429], ["bad request", 400], ["fall over", 500]]) {
  each(`the error ${status} arrives as it was sent`, async (model) => {
    const error = await generateText({ model, prompt, ...quiet }).then(() => assert.fail("it should fail"), (e) => e);
    assert.ok(APICallError.isInstance(error), error);
    assert.equal(error.statusCode, status);
    return { message: error.message, body: JSON.parse(error.responseBody), retry: error.isRetryable };
  }, ({ message, retry }) => ({ message, retry }));
}

each("a client that leaves in mid-stream is let go", async (model) => {
  const leave = new AbortController();
  const result = streamText({ model, prompt: "a long story", abortSignal: leave.signal, onError: () => {}, ...quiet });
  const seen = [];
  for await (const part of result.fullStream) {
    if (part.type === "text-delta") leave.abort();
    if (part.type === "abort") seen.push(part.type);
  }
  return { seen, after: lasting(await generateText({ model, prompt: "say hello", ...quiet })) };
});

test("embeddings", async () => {
  const embed = async (path) => {
    const model = createOpenAI({ baseURL: path.baseURL, apiKey }).embedding(path.embeddings);
    const { embeddings } = await embedMany({ model, values: ["one", "two"], ...quiet });
    return embeddings.map((vector) => vector.length);
  };
  assert.deepEqual(await embed(THROUGH), await embed(DIRECT));
});
