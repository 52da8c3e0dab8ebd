// Ordinary clients, each as fast as it is answered, for SECONDS: conversations of two turns of some 2 KB, whole and streamed, in the
// words of both OpenAI and Anthropic, with a client's key. `make release` notes its ways by them. Fails where an answer is not right.
// usage: node ordinary.mjs BINARY SECONDS
import { randomUUID } from "node:crypto";
import fs from "node:fs";
import net from "node:net";
import { begin, END_S, endOf, run } from "./process.mjs";
import { EVENTS, TEXT } from "./said.mjs";

const [binary, seconds] = [process.argv[2], Number(process.argv[3] ?? 20)];
const CLIENTS = 32;
const QUESTION = "Explain what a canary release is and why a team would use one for language models. ".repeat(19);
/** How a client asks: most want a whole answer or a stream in OpenAI's words, one in eight speaks Anthropic's. */
const WAYS = ["chat whole", "chat stream", "chat whole", "chat stream", "chat whole", "messages stream", "chat whole", "chat stream"];
const PATHS = { chat: "/v1/chat/completions", messages: "/v1/messages" };

function request(way, key, turns) {
  const [words, form] = way.split(" ");
  const system = "You are a careful assistant that answers briefly.";
  const messages = words === "chat" ? [{ role: "system", content: system }, ...turns] : turns;
  const rest = words === "chat" ? { user: "u-1" } : { system };
  const text = JSON.stringify({ model: "soak", messages, max_tokens: 256, temperature: 0.7, stream: form === "stream", ...rest });
  return `POST ${PATHS[words]} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${key}\r\naccept: application/json\r\nuser-agent: ordinary\r\n` +
    `content-type: application/json\r\ncontent-length: ${Buffer.byteLength(text)}\r\n\r\n${text}`;
}

/** Where the answer at the beginning of `got` ends, or undefined while it has not. */
function end(got) {
  const head = got.indexOf("\r\n\r\n");
  if (head < 0) return undefined;
  const length = /content-length: (\d+)/i.exec(got.slice(0, head))?.[1];
  if (length !== undefined) return got.length >= head + 4 + Number(length) ? head + 4 + Number(length) : undefined;
  const last = got.indexOf("\r\n0\r\n\r\n", head);
  return last < 0 ? undefined : last + 7;
}

/** One connection that is kept; `ask` gives the answer to one request on it. */
function connect(port) {
  const socket = net.connect(port, "127.0.0.1").setNoDelay(true);
  let [got, waits] = ["", undefined];
  const fail = (error) => waits?.failed(error ?? new Error("the connection was closed"));
  socket.on("error", fail).on("close", () => fail());
  socket.on("data", (piece) => {
    got += piece.toString("latin1");
    const at = end(got);
    if (at === undefined) return;
    const answer = got.slice(0, at);
    got = got.slice(at);
    waits.done(answer);
  });
  const ask = (text) => new Promise((done, failed) => {
    waits = { done, failed };
    socket.write(text);
  });
  return { ask, leave: () => socket.destroy() };
}

function check(way, answer) {
  const said = way.endsWith("stream") ? answer.split(TEXT).length - 1 === EVENTS : answer.includes(TEXT);
  if (!answer.startsWith("HTTP/1.1 200 ") || !said) throw new Error(`${way}: ${answer.slice(0, 300)}`);
}

async function converse(port, key, number, until) {
  const { ask, leave } = connect(port);
  let asked = 0;
  for (let way = number; Date.now() < until; way += 1) {
    const how = WAYS[way % WAYS.length];
    const does = how.endsWith("stream") ? "do:brisk" : "do:whole";
    const first = [{ role: "user", content: `${randomUUID()} ${QUESTION}` }];
    const second = [...first, { role: "assistant", content: TEXT.repeat(EVENTS) }, { role: "user", content: "Thank you. And why is it called so?" }];
    for (const turns of [first, second]) {
      check(how, await ask(request(how, key, [...turns, { role: "user", content: does }])));
      asked += 1;
    }
  }
  leave();
  return asked;
}

async function main() {
  const { coalmine, port, work, tell } = await begin(binary);
  const key = JSON.parse(tell("key", "create", "ordinary", "--json")).secret;
  const until = Date.now() + seconds * 1000;
  const asked = await Promise.all(Array.from({ length: CLIENTS }, (_, number) => converse(port, key, number, until)));
  console.log(`${asked.reduce((sum, each) => sum + each, 0)} answers in ${seconds} s, each as it should be`);
  const code = await endOf(coalmine);
  if (code !== 0) {
    console.error(`FAULT: ${code === undefined ? `it had not ended ${END_S} s after it was asked to` : `asked to end, it ended with ${code}`}; the log is ${work}/coalmine.log`);
    return 1;
  }
  fs.rmSync(work, { recursive: true });
  return 0;
}

await run(main);
