// A provider that breaks its connection in mid-stream: what came before reaches the unmodified SDKs as it does on the direct
// path, and then they throw, natively and through translation. Directly an SDK feels a connection that was cut, and throws
// whatever its HTTP client does; through Coalmine it is told by an event, and throws the error of its own that it has for one.
import assert from "node:assert/strict";
import { test } from "node:test";
import Anthropic from "@anthropic-ai/sdk";
import OpenAI from "openai";

const keyed = { apiKey: "test-key", maxRetries: 0 };
const openai = (baseURL) => new OpenAI({ baseURL, ...keyed });
const anthropic = (url) => new Anthropic({ baseURL: url.replace(/\/v1$/, ""), ...keyed });
const { DIRECT_URL, COALMINE_URL } = process.env;
const direct = { openai: openai(DIRECT_URL), anthropic: anthropic(DIRECT_URL) };
const through = { openai: openai(COALMINE_URL), anthropic: anthropic(COALMINE_URL) };
const messages = [{ role: "user", content: "break off" }];

/** The texts that came, and what was thrown behind them. */
async function untilItBreaks(asked, textOf) {
  const texts = [];
  try {
    for await (const event of await asked) {
      const text = textOf(event);
      if (text != null) texts.push(text);
    }
  } catch (error) {
    assert.ok(!(error instanceof assert.AssertionError), error.message);
    assert.ok(texts.join("").startsWith("Once upon a"), `nothing came before ${error}`);
    return { texts, error };
  }
  return assert.fail("it ended as if it were whole");
}

const ofChunk = ({ choices: [choice] }) => {
  assert.equal(choice?.finish_reason ?? null, null, "it ended as if it were whole");
  return choice?.delta.content;
};
const ofResponse = (event) => {
  assert.notEqual(event.type, "response.completed", "it ended as if it were whole");
  return event.type === "response.output_text.delta" ? event.delta : null;
};
const ofEvent = (event) => {
  assert.ok(!["message_delta", "message_stop"].includes(event.type), "it ended as if it were whole");
  return event.type === "content_block_delta" ? event.delta.text : null;
};
const chat = (by, model) => untilItBreaks(by.openai.chat.completions.create({ model, messages, stream: true }), ofChunk);
const responses = (by, model) => untilItBreaks(by.openai.responses.create({ model, input: "break off", stream: true }), ofResponse);
const said = (by, model) => untilItBreaks(by.anthropic.messages.create({ model, messages, max_tokens: 500, stream: true }), ofEvent);

const isOfOpenai = (error) => {
  assert.ok(error instanceof OpenAI.APIError, `${error}`);
  assert.deepEqual([error.code, error.type], ["bad_gateway", "server_error"]);
};
const isOfAnthropic = (error) => {
  assert.ok(error instanceof Anthropic.APIError, `${error}`);
  assert.deepEqual([error.error.type, error.error.error.type], ["error", "api_error"]);
};

for (const [what, ask, model, route, isIts] of [
  ["a chat completion", chat, "gpt-4o-mini", "shaky-support", isOfOpenai],
  ["a response", responses, "gpt-4o-mini", "shaky-support", isOfOpenai],
  ["a message", said, "claude-sonnet-4-5", "shaky-helpdesk", isOfAnthropic],
]) {
  test(`${what} that breaks off is thrown where it breaks`, async () => {
    const routed = await ask(through, route);
    isIts(routed.error);
    assert.deepEqual(routed.texts, (await ask(direct, model)).texts);
  });
}

test("through translation each SDK throws its own", async () => {
  const asMessage = await said(through, "shaky-support");
  isOfAnthropic(asMessage.error);
  assert.equal(asMessage.texts.join(""), (await chat(direct, "gpt-4o-mini")).texts.join(""));
  const asChat = await chat(through, "shaky-helpdesk");
  isOfOpenai(asChat.error);
  assert.equal(asChat.texts.join(""), (await said(direct, "claude-sonnet-4-5")).texts.join(""));
});

test("helpers give no final message", async () => {
  const failed = (promise) => promise.then(() => assert.fail("it ended as if it were whole"), (error) => error);
  const message = through.anthropic.messages.stream({ model: "shaky-helpdesk", messages, max_tokens: 500 });
  isOfAnthropic(await failed(message.finalMessage()));
  isOfOpenai(await failed(through.openai.chat.completions.stream({ model: "shaky-support", messages }).finalChatCompletion()));
});

test("the next request is whole", async () => {
  await chat(through, "shaky-support");
  const content = "say hello";
  const after = await through.openai.chat.completions.create({ model: "shaky-support", messages: [{ role: "user", content }] });
  assert.equal(after.choices[0].finish_reason, "stop");
});
