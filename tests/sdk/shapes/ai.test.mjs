// The same shapes by Vercel's AI SDK, unmodified: each answer whole and as a stream, and each error, the same through Coalmine as
// directly; and what was said where the provider speaks the other dialect.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, streamText } from "ai";

// What is said in each shape, as the tests of the other frameworks have it.
const listed = `
import json, chat, messages
def of_chat(whole):
    message = whole["choices"][0]["message"]
    calls = [(call["id"], call["function"]["name"], json.loads(call["function"]["arguments"])) for call in message.get("tool_calls", ())]
    return (message["content"] or "") + (message["refusal"] or ""), calls
def of_messages(whole):
    blocks = whole["content"]
    text = "".join(block["text"] for block in blocks if block["type"] == "text")
    return text, [(block["id"], block["name"], block["input"]) for block in blocks if block["type"] == "tool_use"]
print(json.dumps([{name: of_chat(told) for name, (told, _) in chat.SHAPES.items()}, {name: of_messages(told) for name, told in messages.SHAPES.items()}]))
`;
const [CHAT, MESSAGES] = JSON.parse(execFileSync("python3", ["-c", listed], { cwd: import.meta.dirname }));
// What a client of messages can never have asked for.
const NOT_FOR_MESSAGES = ["audio", "function_call", "two choices", "logprobs", "cited"];
const STATUS = ["400", "401", "404", "413", "429", "500", "529"];
const apiKey = "test-key";
const through = process.env.COALMINE_URL;
const DIRECT = { baseURL: `${process.env.SHAPES_DIRECT_URL}/v1`, chat: "gpt-4o-mini", messages: "claude-sonnet-4-5" };
const THROUGH = { baseURL: through, chat: "shapes-chat", messages: "shapes-messages" };
const CROSSED = { baseURL: through, chat: "shapes-messages", messages: "shapes-chat" };
const OF_CHAT = {
  chat: ({ baseURL, chat }) => createOpenAI({ baseURL, apiKey }).chat(chat),
  compatible: ({ baseURL, chat }) => createOpenAICompatible({ name: "own", baseURL, apiKey, includeUsage: true })(chat),
};
const OF_MESSAGES = { anthropic: ({ baseURL, messages }) => createAnthropic({ baseURL, apiKey })(messages) };

// What is of the single call, or of the way there.
const OF_THE_CALL = new Set(["request", "headers", "timestamp", "url", "requestBodyValues", "stack", "model", "modelId"]);
const ownId = /^aitxt-|^[A-Za-z0-9]{16}$/;
// The gateway asks for usage itself, so that the chunks of a client that did not are told that theirs is null.
const plain = (value) =>
  JSON.parse(
    JSON.stringify(value, (key, one) => {
      if (OF_THE_CALL.has(key) || (key === "usage" && one === null)) return undefined;
      return typeof one === "string" && ownId.test(one) ? "" : one;
    }) ?? "null",
  );
const raised = ({ name, message, statusCode, isRetryable, responseHeaders, responseBody }) => ({
  raised: { name, message, statusCode, isRetryable, again: responseHeaders?.["retry-after"] },
  responseBody,
});

async function asked(model, shape, stream) {
  const call = { model, prompt: "hi", maxOutputTokens: 500, maxRetries: 0, headers: { "x-shape": shape } };
  const of = ({ text, toolCalls, totalUsage, ...rest }) => ({
    said: [text, toolCalls.map(({ toolCallId, toolName, input }) => [toolCallId, toolName, input]).sort(), totalUsage.inputTokens, totalUsage.outputTokens],
    ...rest,
  });
  try {
    if (!stream) {
      const { text, toolCalls, totalUsage, finishReason, reasoningText, sources, content } = await generateText(call);
      return of({ text, toolCalls, totalUsage, finishReason, reasoningText, sources, content });
    }
    const result = streamText({ ...call, onError: () => {} });
    const parts = [];
    for await (const part of result.fullStream) {
      if (part.type === "error") return { parts, ...raised(part.error) };
      parts.push(part);
    }
    const [text, toolCalls, totalUsage, finishReason] = await Promise.all([result.text, result.toolCalls, result.totalUsage, result.finishReason]);
    return of({ text, toolCalls, totalUsage, finishReason, parts });
  } catch (error) {
    return raised(error);
  }
}

function each(models, shapes, name, check) {
  for (const [kind, model] of Object.entries(models)) {
    for (const shape of shapes) {
      for (const stream of [false, true]) {
        test(`${kind}: ${shape}${stream ? ", streamed" : ""}: ${name}`, () => check(model, shape, stream));
      }
    }
  }
}

async function same(model, shape, stream) {
  const [direct, routed] = [await asked(model(DIRECT), shape, stream), await asked(model(THROUGH), shape, stream)];
  assert.deepEqual(plain(routed), plain(direct));
  return direct;
}
each(OF_CHAT, [...Object.keys(CHAT), ...STATUS], "is told the same", same);
each(OF_MESSAGES, [...Object.keys(MESSAGES), ...STATUS], "is told the same", same);

async function raisedTheSame(model, shape, stream) {
  const [direct, crossed] = [await asked(model(DIRECT), shape, stream), await asked(model(CROSSED), shape, stream)];
  assert.equal(direct.raised.statusCode, Number(shape));
  assert.deepEqual(crossed.raised, direct.raised);
}
each({ ...OF_CHAT, ...OF_MESSAGES }, STATUS, "is raised whoever answers", raisedTheSame);

each(OF_CHAT, Object.keys(MESSAGES), "is heard of messages", async (model, shape, stream) => {
  const [text, calls] = MESSAGES[shape];
  assert.deepEqual(plain((await asked(model(CROSSED), shape, stream)).said), [text, calls, 2120, 34]);
});
const heard = Object.keys(CHAT).filter((shape) => !NOT_FOR_MESSAGES.includes(shape));
each(OF_MESSAGES, heard, "is heard of chat completions", async (model, shape, stream) => {
  const [text, calls] = CHAT[shape];
  assert.deepEqual(plain((await asked(model(CROSSED), shape, stream)).said), [text, calls, 19, 10]);
});
