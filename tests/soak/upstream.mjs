// A provider of chat completions that does what the last message tells it to, much of it wrong.
// usage: node upstream.mjs PORT
import http from "node:http";
import { gzipSync } from "node:zlib";
import { ENORMOUS, EVENTS, TEXT } from "./said.mjs";

const chunk = (delta, finish = null) =>
  `data: ${JSON.stringify({ id: "c", object: "chat.completion.chunk", created: 0, model: "steady", choices: [{ index: 0, delta, finish_reason: finish }] })}\n\n`;
const bomb = gzipSync(Buffer.alloc(64 << 20));
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const usage = { prompt_tokens: 10, completion_tokens: EVENTS, total_tokens: 10 + EVENTS };

async function write(answer, bytes) {
  if (answer.destroyed) return false;
  if (!answer.write(bytes)) {
    await new Promise((done) => {
      const go = () => done(answer.off("drain", go).off("close", go));
      answer.on("drain", go).on("close", go);
    });
  }
  return !answer.destroyed;
}

async function stream(answer, { events, text, pause }) {
  answer.writeHead(200, { "content-type": "text/event-stream" });
  for (let sent = 0; sent < events; sent += 1) {
    if (!(await write(answer, chunk({ content: text })))) return;
    if (pause) await sleep(pause);
  }
  answer.end(`${chunk({}, "stop")}data: [DONE]\n\n`);
}

const does = {
  whole: (answer, asked) => {
    const message = { role: "assistant", content: `${TEXT} ${asked.length}` };
    answer.writeHead(200, { "content-type": "application/json" });
    answer.end(JSON.stringify({ id: "c", object: "chat.completion", created: 0, model: "steady", choices: [{ index: 0, message, finish_reason: "stop" }], usage }));
  },
  stream: (answer) => stream(answer, { events: EVENTS, text: TEXT, pause: 5 }),
  brisk: (answer) => stream(answer, { events: EVENTS, text: TEXT, pause: 1 }),
  slow: (answer) => stream(answer, { events: 100, text: TEXT, pause: 100 }),
  enormous: (answer) => stream(answer, { events: ENORMOUS, text: TEXT.repeat(2000), pause: 0 }),
  limited: (answer) => answer.writeHead(429, { "retry-after": "1" }).end('{"error":{"message":"slow down"}}'),
  broken: (answer) => answer.writeHead(500).end("<html>no</html>"),
  reset: (answer) => answer.socket.destroy(),
  cut: async (answer) => {
    answer.writeHead(200, { "content-type": "text/event-stream" });
    await write(answer, chunk({ content: TEXT }));
    answer.socket.destroy();
  },
  garbage: async (answer) => {
    answer.writeHead(200, { "content-type": "text/event-stream" });
    for (let n = 0; n < 50; n += 1) await write(answer, `data: {"choices":[{"delta":${"[".repeat(n * 20)}\n\ndata\r\r\n:\0\xff`);
    answer.end();
  },
  endless: async (answer) => {
    answer.writeHead(200, { "content-type": "text/event-stream" });
    await write(answer, "data: ");
    for (let n = 0; n < 64; n += 1) if (!(await write(answer, "x".repeat(1 << 16)))) return;
    answer.end();
  },
  bomb: (answer) => answer.writeHead(200, { "content-type": "application/json", "content-encoding": "gzip" }).end(bomb),
  half: (answer) => {
    answer.writeHead(200, { "content-type": "application/json", "content-length": 4000 });
    answer.write('{"choices":[{"message":{"content":"');
    setTimeout(() => answer.socket?.destroy(), 20);
  },
  headers: (answer) => answer.writeHead(200, { "x-much": "y".repeat(100_000) }).end("{}"),
};

const server = http.createServer({ keepAliveTimeout: 60_000 }, async (request, answer) => {
  answer.on("error", () => {});
  const pieces = [];
  try {
    for await (const piece of request) pieces.push(piece);
    const asked = Buffer.concat(pieces);
    // The word stands last, so that nobody need parse many megabytes to find it.
    const word = /"do:(\w+)"/.exec(asked.subarray(-200).toString())?.[1];
    await (does[word] ?? does.whole)(answer, asked);
  } catch {
    answer.destroy();
  }
});
server.listen(Number(process.argv[2]), "127.0.0.1");
