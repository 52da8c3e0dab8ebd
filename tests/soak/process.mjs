// Processes that a run starts and ends, and what it needs to find them.
import { execFileSync, spawn } from "node:child_process";
import fs from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

const here = path.dirname(fileURLToPath(import.meta.url));
/** With no client left there is nothing that it could wait for, and what it writes as it ends is written. */
export const END_S = 60;
export const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const started = [];

function freePort() {
  return new Promise((done) => {
    const server = net.createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => done(port));
    });
  });
}

function start(command, args, options) {
  const child = spawn(command, args, options);
  started.push(child);
  return child;
}

async function ready(url) {
  for (let tries = 0; tries < 1200; tries += 1) {
    if (await fetch(url).then((answer) => answer.ok, () => false)) return;
    await sleep(50);
  }
  throw new Error(`nothing answers at ${url}`);
}

/** Asks a process to end; what it ended with, or undefined where it did not. */
export async function endOf(child) {
  const ending = new Promise((done) => child.once("exit", (code, signal) => done(code ?? signal)));
  if (child.exitCode !== null || child.signalCode !== null) return child.exitCode ?? child.signalCode;
  child.kill("SIGTERM");
  return Promise.race([ending, sleep(END_S * 1000)]);
}

/** Starts the upstream, Coalmine before it, and a release that goes on for as long as the run; where they are. */
export async function begin(binary) {
  const [mock, port] = [await freePort(), await freePort()];
  const work = fs.mkdtempSync(path.join(os.tmpdir(), "soak-"));
  const env = { ...process.env, COALMINE_TOKEN: "soak-token" };
  const config = fs.readFileSync(path.join(here, "coalmine.yaml"), "utf8");
  fs.writeFileSync(path.join(work, "coalmine.yaml"), config.replace("@COALMINE@", port).replace("@MOCK@", mock));
  fs.copyFileSync(path.join(here, "release.yaml"), path.join(work, "release.yaml"));
  start(process.execPath, [path.join(here, "upstream.mjs"), mock], { stdio: "inherit" });
  const log = fs.openSync(path.join(work, "coalmine.log"), "w");
  const coalmine = start(binary, ["serve", "--config", "coalmine.yaml"], { cwd: work, env, stdio: ["ignore", log, log] });
  await ready(`http://127.0.0.1:${mock}/v1/models`);
  await ready(`http://127.0.0.1:${port}/readyz`);
  const tell = (...words) => execFileSync(binary, [...words, "--url", `http://127.0.0.1:${port}`], { cwd: work, env, encoding: "utf8" });
  tell("start", "release.yaml");
  return { coalmine, port, work, tell };
}

/** Runs `main` for its exit code; whatever it started ends with it. */
export async function run(main) {
  for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => process.exit(130));
  process.on("exit", () => started.forEach((child) => child.kill()));
  process.exitCode = await main().catch((error) => {
    console.error(error.message);
    return 1;
  });
  process.exit();
}
