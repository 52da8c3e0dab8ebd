// The clients of the soak: each kind asks again and again until told to stop, and knows what it must get.
import { randomUUID } from "node:crypto";
import http from "node:http";
import net from "node:net";
import { ENORMOUS, EVENTS, TEXT } from "./said.mjs";

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
// No answer takes longer than the gateway's own limits (coalmine.yaml); what does is lost.
const PATIENCE_MS = 200_000;
// Where this process itself had no time for so long, the gateway may well have given up a connection that had said nothing yet.
const STALL_MS = 5_000;
const LOOK_MS = 250;

/** Kinds of clients: how many at a time, how long each rests, what one does. A client that throws has lost a request. */
export const KINDS = {
  whole: { many: 6, rest: 200, ask: whole },
  streamed: { many: 10, rest: 300, ask: streamed },
  aborting: { many: 4, rest: 200, ask: aborting },
  slow_reader: { many: 3, rest: 500, ask: slowReader },
  enormous: { many: 1, rest: 1000, ask: enormous },
  too_large: { many: 1, rest: 2000, ask: tooLarge },
  slowloris: { many: 2, rest: 500, ask: slowloris },
  header_flood: { many: 1, rest: 500, ask: headerFlood },
  malformed: { many: 1, rest: 200, ask: malformed },
  sick_upstream: { many: 4, rest: 200, ask: sickUpstream },
};

export class Clients {
  constructor(port) {
    this.port = port;
    this.agent = new http.Agent({ keepAlive: true, maxSockets: 64 });
    this.counts = Object.fromEntries(Object.keys(KINDS).map((kind) => [kind, { done: 0, lost: 0 }]));
    this.losses = [];
    this.excused = [];
    this.stalls = [];
    this.stopped = false;
  }

  /** Notes when this process had no time: a timer is then late. */
  watch() {
    let before = Date.now();
    this.watching = setInterval(() => {
      const now = Date.now();
      if (now - before > STALL_MS) this.stalls.push({ from: before, to: now });
      before = now;
    }, LOOK_MS);
  }

  /** A request was lost. One on the way while this process had no time says nothing of the gateway, and is told apart. */
  async lose(kind, began, error) {
    const told = `${new Date(began).toISOString()} after ${Date.now() - began} ms, ${kind}: ${error.message}`;
    // the timer that sees a stall may be due behind the error that it made
    await sleep(2 * LOOK_MS);
    if (this.stalls.some(({ from, to }) => from <= Date.now() && to >= began)) {
      this.excused.push(told);
      return;
    }
    this.counts[kind].lost += 1;
    if (this.losses.length < 20) this.losses.push(told);
  }

  start() {
    this.watch();
    const run = async ([kind, { rest, ask }]) => {
      while (!this.stopped) {
        const began = Date.now();
        try {
          await ask(this);
          this.counts[kind].done += 1;
        } catch (error) {
          await this.lose(kind, began, error);
        }
        await sleep(rest * (0.5 + Math.random()));
      }
    };
    this.running = Object.entries(KINDS).flatMap((kind) => Array.from({ length: kind[1].many }, () => run(kind)));
  }

  async stop() {
    this.stopped = true;
    await Promise.all(this.running);
    clearInterval(this.watching);
    this.agent.destroy();
  }
}

function body(word, stream, filler = "") {
  return JSON.stringify({ model: "soak", stream, messages: [{ role: "user", content: `${randomUUID()}${filler}` }, { role: "user", content: `do:${word}` }] });
}

/** Who listens to it already: what breaks behind an answer that came early (a 408) is told of the socket, and by then of nobody else. */
const heard = new WeakSet();

function hear(socket) {
  if (heard.has(socket)) return;
  heard.add(socket);
  socket.on("error", () => {});
}

/** Sends a chat completion; gives what leaves it, and the promise of its answer's head. */
function send(clients, text, options = {}) {
  let again;
  const request = http.request({
    port: clients.port, host: "127.0.0.1", agent: clients.agent, method: "POST", path: "/v1/chat/completions", timeout: PATIENCE_MS,
    headers: { "content-type": "application/json", "content-length": Buffer.byteLength(text), "x-session-id": randomUUID() },
    ...options,
  });
  let left = false;
  request.on("socket", hear);
  request.on("timeout", () => request.destroy(new Error("no answer in time")));
  const head = new Promise((done, failed) => {
    request.on("response", done);
    request.on("error", (error) => {
      // A connection that had been idle was closed at that moment: clients of HTTP ask again on a new one.
      if (!left && request.reusedSocket && ["ECONNRESET", "EPIPE"].includes(error.code)) {
        again = send(clients, text, { agent: false });
        again.head.then(done, failed);
      } else failed(error);
    });
  });
  head.catch(() => {});
  request.end(text);
  const leave = () => {
    left = true;
    request.destroy();
    again?.leave();
  };
  return { leave, head };
}

async function read(answer) {
  const pieces = [];
  for await (const piece of answer) pieces.push(piece);
  return Buffer.concat(pieces).toString();
}

function must(holds, what) {
  if (!holds) throw new Error(what);
}

async function whole(clients) {
  const text = body("whole", false);
  const answer = await send(clients, text).head;
  const said = await read(answer);
  must(answer.statusCode === 200 && said.includes(TEXT), `status ${answer.statusCode}: ${said.slice(0, 200)}`);
}

async function streamed(clients) {
  const answer = await send(clients, body("stream", true)).head;
  const said = await read(answer);
  must(said.split(TEXT).length - 1 === EVENTS && said.endsWith("data: [DONE]\n\n"), `status ${answer.statusCode}, ${said.length} bytes of a stream`);
}

async function aborting(clients) {
  const { leave, head } = send(clients, body("slow", true));
  // Before the head, at the head, or in the middle.
  const when = Math.floor(Math.random() * 3);
  if (when === 0) await sleep(5);
  if (when > 0) {
    const answer = await head;
    answer.on("error", () => {}).resume();
    if (when > 1) await sleep(250);
  }
  leave();
}

async function slowReader(clients) {
  const answer = await send(clients, body("enormous", true)).head;
  let bytes = 0;
  let last = "";
  for await (const piece of answer) {
    bytes += piece.length;
    last = (last + piece.toString("latin1")).slice(-14);
    await sleep(10);
  }
  must(bytes > ENORMOUS * TEXT.length * 2000 && last === "data: [DONE]\n\n", `${bytes} bytes of an enormous stream`);
}

async function enormous(clients) {
  const text = body("whole", false, "x".repeat(12 << 20));
  const answer = await send(clients, text).head;
  const said = await read(answer);
  const arrived = Number(new RegExp(`${TEXT} (\\d+)`).exec(said)?.[1]);
  must(arrived > 12 << 20, `status ${answer.statusCode}: ${said.slice(0, 200)}`);
}

/** Writes to a raw socket; gives what came back until the other side closed, or until no more patience is left. */
function raw(clients, write) {
  return new Promise((done) => {
    const socket = net.connect(clients.port, "127.0.0.1");
    let got = "";
    const late = setTimeout(() => socket.destroy(), PATIENCE_MS);
    socket.on("data", (piece) => (got = (got + piece.toString("latin1")).slice(0, 4096)));
    socket.on("error", () => {});
    socket.on("close", () => {
      clearTimeout(late);
      done({ got });
    });
    socket.on("connect", () => write(socket));
  });
}

async function tooLarge(clients) {
  const head = `POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: ${200 << 20}\r\nconnection: close\r\n\r\n`;
  const { got } = await raw(clients, (socket) => socket.write(head + "x".repeat(1000)));
  must(got.includes(" 413 "), `a body of 200 MiB was met with ${got.slice(0, 100)}`);
}

async function slowloris(clients) {
  const began = Date.now();
  await raw(clients, (socket) => {
    socket.write("POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n");
    const drip = setInterval(() => socket.write("x-a: b\r\n"), 500);
    socket.on("close", () => clearInterval(drip));
  });
  must(Date.now() - began < PATIENCE_MS / 2, "a head that never ends was not given up");
}

async function headerFlood(clients) {
  const head = `POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n${`x-flood: ${"y".repeat(1000)}\r\n`.repeat(2000)}\r\n`;
  const { got } = await raw(clients, (socket) => socket.write(head));
  must(!got.includes(" 200 "), `a flood of headers was met with ${got.slice(0, 100)}`);
}

async function malformed(clients) {
  const answer = await send(clients, '{"model": "soak", "messages": [').head;
  await read(answer);
  must(answer.statusCode === 400, `half a request was met with ${answer.statusCode}`);
}

const SICK = ["limited", "broken", "reset", "cut", "garbage", "endless", "bomb", "half", "headers"];

/** Whatever the upstream does, the client has an end of it: an answer, or a connection that closes. */
async function sickUpstream(clients) {
  const word = SICK[Math.floor(Math.random() * SICK.length)];
  const began = Date.now();
  try {
    const answer = await send(clients, body(word, Math.random() < 0.5)).head;
    for await (const _ of answer);
  } catch (error) {
    must(error.message !== "no answer in time", `${word}: no end`);
  }
  must(Date.now() - began < PATIENCE_MS, `${word}: no end in time`);
}
