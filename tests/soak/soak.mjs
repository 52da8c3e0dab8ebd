// Normal, aborting, slow, enormous and hostile clients, and an upstream that breaks in nine ways, for MINUTES; fails where a
// request is lost, where something stays behind, or where memory or descriptors rise in 10 minutes or more.
// usage: node soak.mjs BINARY MINUTES
import fs from "node:fs";
import { Clients } from "./clients.mjs";
import { begin, END_S, endOf, run, sleep } from "./process.mjs";

const [binary, minutes] = [process.argv[2], Number(process.argv[3] ?? 30)];
const SAMPLE_MS = 2000;
/** What is still under way so long after the last client left was left behind. */
const LEFT_MS = 8000;
/** In fewer minutes what warms up or waits its turn looks like a trend: those judge only what is lost or left behind. */
const TREND_MINUTES = 10;

/** What the process holds: resident memory in MiB, descriptors, threads, and its own gauges. */
async function sample(pid, port) {
  const status = fs.readFileSync(`/proc/${pid}/status`, "utf8");
  const told = () => fetch(`http://127.0.0.1:${port}/metrics`).then((answer) => answer.text());
  // An idle connection may be closed just when it is used again, and a machine may have no time for us for a while.
  const metrics = await told().catch(() => sleep(SAMPLE_MS).then(told)).catch((error) => {
    throw new Error(`no answer at /metrics of process ${pid}: ${error.message}, ${error.cause?.message ?? "for no told reason"}`);
  });
  const gauge = (name) => metrics.split("\n").filter((line) => line.startsWith(name)).reduce((sum, line) => sum + Number(line.split(" ").pop()), 0);
  return {
    at: Date.now(),
    rss: Number(/VmRSS:\s+(\d+)/.exec(status)[1]) / 1024,
    fds: fs.readdirSync(`/proc/${pid}/fd`).length,
    threads: Number(/Threads:\s+(\d+)/.exec(status)[1]),
    active: gauge("coalmine_active_requests"),
    connections: gauge("coalmine_connections"),
    pins: gauge("coalmine_pins"),
  };
}

/** What is held when all have left, as soon as nothing is under way any more; a busy machine needs a while to notice. */
async function settled(pid, port) {
  await sleep(3000);
  const until = Date.now() + LEFT_MS;
  let seen = await sample(pid, port);
  while (seen.active > 0 && Date.now() < until) {
    await sleep(500);
    seen = await sample(pid, port);
  }
  return seen;
}

const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];

/** Growth from the first sample to the last along the median of all pairs' slopes (Theil 1950, Sen 1968). */
function growth(samples, key) {
  const step = Math.max(1, Math.floor(samples.length / 300));
  const thin = samples.filter((_, n) => n % step === 0);
  const slopes = thin.flatMap((a, n) => thin.slice(n + 1).map((b) => (b[key] - a[key]) / (b.at - a.at)));
  return median(slopes) * (thin.at(-1).at - thin[0].at);
}

function show(began, seen, counts) {
  const done = Object.values(counts).reduce((sum, count) => sum + count.done, 0);
  const lost = Object.values(counts).reduce((sum, count) => sum + count.lost, 0);
  const cells = [((seen.at - began) / 60_000).toFixed(1), seen.rss.toFixed(1), seen.fds, seen.threads, seen.active, seen.connections, seen.pins, done, lost];
  console.log(cells.map((cell) => String(cell).padStart(8)).join(" "));
}

/** What is wrong with what was seen; nothing where all is well. */
function faults(samples, after, clients) {
  const found = clients.losses.map((loss) => `lost, ${loss}`);
  // What is warming up is no trend: the first third is not looked at.
  // How many clients are there at a time is up to the machine: what they hold is looked at when they have left.
  const settled = samples.slice(Math.floor(samples.length / 3)).map((seen) => ({ ...seen, spare: seen.fds - seen.connections - seen.active }));
  for (const [key, unit, slack] of [["rss", "MiB", 4 + 0.05 * median(settled.map((seen) => seen.rss))], ["spare", "descriptors beyond those of clients and their requests", 10], ["threads", "threads", 2]]) {
    const rise = growth(settled, key);
    const judged = minutes >= TREND_MINUTES ? `up to ${slack.toFixed(1)} pass` : `judged from ${TREND_MINUTES} minutes on`;
    console.log(`${key}: median ${median(settled.map((seen) => seen[key])).toFixed(1)}, along the trend ${rise >= 0 ? "+" : ""}${rise.toFixed(2)} ${unit} (${judged})`);
    if (minutes >= TREND_MINUTES && rise > slack) found.push(`${key} rises by ${rise.toFixed(1)} ${unit}`);
  }
  if (after.active > 0) found.push(`${after.active} requests are still active with no client left`);
  if (after.connections > 4) found.push(`${after.connections} connections of clients are left, and no client`);
  if (after.fds > samples[0].fds + 40) found.push(`${after.fds} descriptors are left of a start with ${samples[0].fds}`);
  return found;
}

async function main() {
  const { coalmine, port, work } = await begin(binary);
  const clients = new Clients(port);
  const began = Date.now();
  const samples = [await sample(coalmine.pid, port)];
  console.log(["minute", "rss MiB", "fds", "threads", "active", "conns", "pins", "done", "lost"].map((cell) => cell.padStart(8)).join(" "));
  show(began, samples[0], clients.counts);
  clients.start();
  let shown = began;
  while (Date.now() - began < minutes * 60_000) {
    await sleep(SAMPLE_MS);
    const ended = () => coalmine.exitCode ?? coalmine.signalCode;
    const fallen = () => new Error(`coalmine ended with ${ended()}, see ${work}/coalmine.log`);
    if (ended() !== null) throw fallen();
    samples.push(await sample(coalmine.pid, port).catch((error) => Promise.reject(ended() === null ? error : fallen())));
    if (Date.now() - shown >= 30_000) {
      show(began, samples.at(-1), clients.counts);
      shown = Date.now();
    }
  }
  await clients.stop();
  const after = await settled(coalmine.pid, port);
  show(began, after, clients.counts);
  console.log(Object.entries(clients.counts).map(([kind, { done, lost }]) => `${kind} ${done}${lost ? ` (${lost} lost)` : ""}`).join(", "));
  const away = clients.stalls.reduce((sum, { from, to }) => sum + to - from, 0);
  if (away) console.log(`the clients themselves had no time for ${(away / 1000).toFixed(1)} s in ${clients.stalls.length} stretches; what was lost meanwhile is not judged: ${clients.excused.length}`);
  clients.excused.slice(0, 20).forEach((loss) => console.log(`not judged, ${loss}`));
  const found = faults(samples, after, clients);
  const code = await endOf(coalmine);
  if (code !== 0) found.push(code === undefined ? `it had not ended ${END_S} s after it was asked to` : `asked to end, it ended with ${code}`);
  found.forEach((fault) => console.error(`FAULT: ${fault}`));
  if (found.length) console.error(`the log is ${work}/coalmine.log`);
  else fs.rmSync(work, { recursive: true });
  return found.length ? 1 : 0;
}

await run(main);
