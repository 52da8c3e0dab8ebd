// What the pages are about: a provider that answers whatever it is told to, the real binary in front of it, and a release.
import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';

export const READER = 'reader-token-0123456789';
export const OTHER = 'other-token-0123456789';
export const HOSTILE = '<script>window.taken = 1</script><img src=x onerror="window.taken = 2"></p></section><a href="javascript:window.taken=3">zebra</a>';
export const ARABIC = 'مرحبا، طلبك رقم 7 في الطريق.';
const LONG = 'A long answer goes on and on. '.repeat(250);

const COALMINE = (port, mock) => `
listen: 127.0.0.1:${port}
store: sqlite:coalmine.db
api: { tokens: { ana: file:ana.token, ben: file:ben.token } }
providers:
  mock: { kind: openai, upstreams: [{ url: "http://127.0.0.1:${mock}/v1" }] }
capture: { key: file:capture.key, readers: [ana] }
routes:
  support:
    stable: { model: mock/m-stable }
    capture: { sample: 100%, keep: 1h }
`;
const RELEASE = `
release: support
canary: { model: mock/m-canary }
stages: [{ weight: 50%, bake: 24h }]
guardrails:
  - { metric: error_rate, margin: 5pp }
  - { metric: judge.helpful, margin: 10pp, sample: 100% }
`;
const JUDGE = 'model: mock/m-jury\nscale: binary\nrubric: The answer says where the order is.\ncalls: 1000\nlabels: 100%\n';

function listening(server) {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => resolve(server.address().port));
  });
}

async function freePort() {
  const server = createServer();
  const port = await listening(server);
  await new Promise((resolve) => server.close(resolve));
  return port;
}

// What each model says. Those of the canary take turns.
function provider() {
  let turn = 0;
  const canary = [HOSTILE, ARABIC, LONG];
  return createServer((request, response) => {
    let body = '';
    request.on('data', (piece) => { body += piece; });
    request.on('end', () => {
      const { model } = JSON.parse(body || '{}');
      const said = {
        'm-jury': () => '{"reason":"so","verdict":"pass"}',
        'm-canary': () => canary[turn++ % canary.length],
      }[model] ?? (() => 'The order is on its way.\n\nIt comes on Monday.');
      const message = { role: 'assistant', content: said() };
      const usage = { prompt_tokens: 9, completion_tokens: 9, total_tokens: 18 };
      response.setHeader('content-type', 'application/json');
      response.end(JSON.stringify({ id: 'c', object: 'chat.completion', created: 1, model, choices: [{ index: 0, message, finish_reason: 'stop' }], usage }));
    });
  });
}

export class World {
  static async begin() {
    const world = new World();
    world.bin = process.env.COALMINE_BIN;
    if (!world.bin) throw new Error('COALMINE_BIN names no binary');
    world.folder = mkdtempSync(join(tmpdir(), 'coalmine-browser-'));
    world.mock = provider();
    const mock = await listening(world.mock);
    const port = await freePort();
    world.base = `http://127.0.0.1:${port}`;
    mkdirSync(join(world.folder, 'judges'));
    const files = { 'coalmine.yaml': COALMINE(port, mock), 'release.yaml': RELEASE, 'judges/helpful.yaml': JUDGE, 'ana.token': READER, 'ben.token': OTHER, 'capture.key': '5a'.repeat(32) };
    for (const [name, text] of Object.entries(files)) writeFileSync(join(world.folder, name), text);
    const log = openSync(join(world.folder, 'log'), 'w');
    world.process = spawn(world.bin, ['serve', '--config', 'coalmine.yaml'], { cwd: world.folder, stdio: ['ignore', log, log] });
    world.process.once('exit', (code) => { world.exit = code ?? 'by a signal'; });
    await world.until('it is ready', async () => (await fetch(`${world.base}/readyz`).catch(() => null))?.ok);
    return world;
  }

  log() {
    return readFileSync(join(this.folder, 'log'), 'utf8');
  }

  async until(what, holds) {
    for (const end = Date.now() + 30_000; Date.now() < end; await pause(50)) {
      if (this.exit !== undefined) throw new Error(`coalmine ended (${this.exit}):\n${this.log()}`);
      if (await holds()) return;
    }
    throw new Error(`not within 30 s: ${what}\n${this.log()}`);
  }

  cli(...args) {
    const env = { ...process.env, COALMINE_TOKEN: READER };
    const ran = spawnSync(this.bin, [...args, '--url', this.base], { cwd: this.folder, env, encoding: 'utf8' });
    if (ran.status !== 0) throw new Error(`coalmine ${args.join(' ')}: ${ran.stdout}${ran.stderr}`);
    return ran.stdout;
  }

  async api(path) {
    const answer = await fetch(`${this.base}/api/v1${path}`, { headers: { authorization: `Bearer ${READER}` } });
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
    return answer.json();
  }

  async ask(session, content) {
    const answer = await fetch(`${this.base}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-session-id': session },
      body: JSON.stringify({ model: 'support', messages: [{ role: 'user', content }] }),
    });
    if (!answer.ok) throw new Error(`a customer got ${answer.status}: ${await answer.text()}`);
    await answer.text();
  }

  // So many pairs, each answer of them also drawn for a label.
  async release(pairs) {
    this.cli('start', 'release.yaml');
    let session = 0;
    await this.until('answers of both versions', async () => {
      await this.ask(`session-${session++}`, 'Where is my order?');
      const { captures } = await this.api('/releases/support-1/captures');
      const labels = await this.api('/releases/support-1/labels');
      const of = (arm) => captures.filter((one) => one.arm === arm).length;
      return of('control') >= pairs && of('canary') >= pairs && labels.length >= 2 * pairs;
    });
  }

  async end() {
    this.mock?.close();
    this.mock?.closeAllConnections();
    if (this.process && this.exit === undefined) {
      const gone = new Promise((resolve) => this.process.once('exit', resolve));
      this.process.kill('SIGKILL');
      await gone;
    }
    if (this.folder) rmSync(this.folder, { recursive: true, force: true });
  }
}
