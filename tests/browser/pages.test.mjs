// A person at the pages under /ui/, in a real browser.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { mkdirSync } from 'node:fs';
import puppeteer from 'puppeteer-core';
import { browser as found } from './browser.mjs';
import { ARABIC, HOSTILE, OTHER, READER, World } from './world.mjs';

const SIDES = '/ui/captures?release=support-1';
const LABELS = '/ui/labels?release=support-1';
// Longer than a key waits before it presses anything.
const SEEN_MS = 400;
let world;
let browser;

before(async () => {
  world = await World.begin();
  await world.ask('before-1', 'Where is my first order?');
  await world.until('an answer without a release', async () => (await world.api('/routes/support/captures')).captures.length === 1);
  await world.release(4);
  const { path, env } = found();
  console.log(`browser: ${path}`);
  browser = await puppeteer.launch({
    executablePath: path,
    env: { ...process.env, ...env },
    args: ['--no-sandbox', '--disable-dev-shm-usage'],
  });
});

after(async () => {
  await browser?.close();
  await world?.end();
});

// A reader of one's own, and whatever goes wrong in the page.
async function visitor(context) {
  const own = await browser.createBrowserContext();
  context.after(() => own.close());
  const page = await own.newPage();
  await page.setViewport({ width: 1280, height: 900 });
  const wrong = [];
  page.on('pageerror', (error) => wrong.push(String(error)));
  page.on('dialog', (dialog) => {
    wrong.push(`a dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
  page.on('console', (message) => {
    if (/Content.Security.Policy|Refused to/i.test(message.text())) wrong.push(message.text());
  });
  page.on('request', (request) => {
    if (!request.url().startsWith(world.base)) wrong.push(`asked elsewhere: ${request.url()}`);
  });
  return { page, wrong };
}

async function follow(page, act) {
  const [answer] = await Promise.all([page.waitForNavigation({ waitUntil: 'load' }), act()]);
  return answer;
}

async function open(page, path) {
  return page.goto(world.base + path, { waitUntil: 'load' });
}

async function press(page, key) {
  await page.waitForFunction((ms) => performance.now() > ms, {}, SEEN_MS);
  return follow(page, () => page.keyboard.press(key));
}

async function signIn(page, token, path) {
  await open(page, path);
  await page.type('#token', token);
  return follow(page, () => page.keyboard.press('Enter'));
}

const text = (page, selector = 'main') => page.$eval(selector, (element) => element.innerText);
const place = (page) => page.url().slice(world.base.length);

async function shot(page, name) {
  if (!process.env.SHOTS) return;
  mkdirSync(process.env.SHOTS, { recursive: true });
  await page.screenshot({ path: `${process.env.SHOTS}/${name}.png` });
}

async function given() {
  const labels = await world.api('/releases/support-1/labels');
  return labels.filter((one) => one.label !== null && one.label !== undefined).map((one) => one.label);
}

test('a wrong token is refused, and a right one leads to where one was going', async (context) => {
  const { page, wrong } = await visitor(context);
  const refused = await signIn(page, 'no such token', SIDES);
  assert.equal(refused.status(), 401);
  assert.match(await text(page, '[role=alert]'), /not known here/);
  assert.deepEqual(await page.cookies(), []);
  await shot(page, 'wrong-token');
  const all = (one) => [one, ...(one.children ?? []).flatMap(all)];
  const tree = all(await page.accessibility.snapshot());
  const named = tree.filter((one) => ['textbox', 'button'].includes(one.role)).map((one) => one.name);
  assert.deepEqual(named, ['Token', 'Sign in'], 'what a screen reader calls them');
  await page.type('#token', READER);
  await follow(page, () => page.keyboard.press('Enter'));
  assert.equal(place(page), SIDES);
  const [cookie] = await page.cookies();
  assert.deepEqual([cookie.httpOnly, cookie.sameSite, cookie.path], [true, 'Strict', '/ui']);
  assert.equal(await page.evaluate(() => document.cookie), '', 'no script reads it');
  await open(page, '/ui/');
  await shot(page, 'releases');
  assert.match(await text(page), /support-1\s+running\s+Side by side\s+\d+ answers to label/);
  await follow(page, () => page.click('header button'));
  await open(page, SIDES);
  assert.equal(place(page), `/ui/login?to=${encodeURIComponent(SIDES)}`, 'signed out');
  assert.deepEqual(wrong, []);
});

test('both versions stand side by side, and what a model wrote is text', async (context) => {
  const { page, wrong } = await visitor(context);
  await signIn(page, READER, SIDES);
  const seen = { hostile: 0, arabic: 0 };
  const pairs = Number((await text(page, '.bar')).match(/of (\d+)/)[1]);
  assert.ok(pairs >= 4, `${pairs} pairs`);
  for (let at = 1; at <= pairs; at += 1) {
    assert.match(await text(page, '.bar'), new RegExp(`Pair ${at} of ${pairs}: same prompt`));
    const [left, right] = await page.$$eval('.sides section', (sides) => sides.map((side) => {
      const { x, y } = side.getBoundingClientRect();
      const words = side.querySelector('.answer .words');
      return { x, y, arm: side.getAttribute('aria-label'), said: words.textContent, way: getComputedStyle(words).direction };
    }));
    assert.deepEqual([left.arm, right.arm, left.y], ['control', 'canary', right.y]);
    assert.ok(left.x < right.x);
    assert.match(left.said, /^The order is on its way\.\n\nIt comes on Monday\.$/);
    if (right.said === HOSTILE) seen.hostile += 1;
    if (right.said === ARABIC) {
      seen.arabic += 1;
      assert.equal(right.way, 'rtl');
    }
    const own = await page.evaluate(() => [document.querySelectorAll('main script, main img, main a[href^=javascript]').length, window.taken ?? null]);
    assert.deepEqual(own, [0, null], 'nothing of it is markup, and nothing ran');
    assert.equal(await page.$$eval('main > .line', (lines) => lines.length), 1, 'what both were asked is there once');
    await shot(page, `pair-${at}`);
    if (at < pairs) await press(page, 'n');
  }
  assert.ok(seen.hostile > 0 && seen.arabic > 0, JSON.stringify(seen));
  await press(page, 'p');
  assert.match(await text(page, '.bar'), new RegExp(`Pair ${pairs - 1} of`));
  await page.setViewport({ width: 360, height: 740 });
  for (const path of ['/ui/', SIDES, LABELS]) {
    await open(page, path);
    const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(over <= 0, `${path} is ${over} px wider than a narrow window`);
    await shot(page, `narrow-${path.replaceAll(/\W/g, '')}`);
  }
  assert.deepEqual(wrong, []);
});

test('a label is given by a key, taken back by another, and counted', async (context) => {
  const { page, wrong } = await visitor(context);
  await signIn(page, READER, LABELS);
  await shot(page, 'labels');
  const first = await page.$eval('input[name=item]', (field) => field.value);
  assert.match(await text(page), /The answer says where the order is\./);
  assert.doesNotMatch(await page.content(), /control|m-canary/, 'whoever labels is blind');
  await press(page, 'n');
  assert.deepEqual(await given(), [0]);
  assert.match(await text(page, '[role=status]'), /labelled fail/);
  assert.notEqual(await page.$eval('input[name=item]', (field) => field.value), first, 'the next one is shown');
  await press(page, 'u');
  assert.equal(await page.$eval('input[name=item]', (field) => field.value), first);
  assert.equal(await page.$eval('[aria-pressed=true]', (button) => button.value), 'fail');
  await press(page, 'y');
  assert.deepEqual(await given(), [1], 'it replaced the first');
  await press(page, 's');
  assert.match(await text(page), /1 of \d+ labelled/);
  await shot(page, 'labelled');
  assert.deepEqual(wrong, []);
});

test('a key that is pressed twice labels nothing unseen', async (context) => {
  const { page } = await visitor(context);
  await signIn(page, READER, LABELS);
  const before = (await given()).length;
  await press(page, 'y');
  await page.keyboard.press('y');
  await open(page, LABELS);
  assert.equal((await given()).length, before + 1);
});

test('without script all of it works by the mouse', async (context) => {
  const { page } = await visitor(context);
  await page.setJavaScriptEnabled(false);
  await signIn(page, READER, LABELS);
  const before = (await given()).length;
  await follow(page, () => page.click('button[value=pass]'));
  assert.equal((await given()).length, before + 1);
  await follow(page, () => page.click('.tabs a'));
  assert.equal(place(page), SIDES);
});

test('whoever is no reader labels by the request and reads nothing', async (context) => {
  const { page } = await visitor(context);
  const refused = await signIn(page, OTHER, SIDES);
  assert.equal(refused.status(), 403);
  assert.match(await text(page), /ben .*capture\.readers/s);
  await shot(page, 'no-reader');
  await open(page, LABELS);
  assert.match(await text(page), /cmr_/);
  assert.equal(await page.$('.words'), null);
});

test('what stable answered without a release is there, and an error is a page too', async (context) => {
  const { page, wrong } = await visitor(context);
  await signIn(page, READER, '/ui/');
  await follow(page, () => page.click('main ul a'));
  assert.match(await text(page), /Answer 1 of 1[\s\S]*Where is my first order\?[\s\S]*It comes on Monday/);
  await shot(page, 'steady');
  await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: 'dark' }]);
  for (const [path, status] of [['/ui/captures?release=nope', 404], ['/ui/labels?release=nope', 404], ['/ui/captures', 404], ['/ui/labels', 400], ['/ui/nowhere', 404]]) {
    const answer = await open(page, path);
    assert.equal(answer.status(), status, path);
    assert.match(answer.headers()['content-type'], /text\/html/, path);
    assert.equal(await page.$eval('main p a', (link) => link.getAttribute('href')), '/ui/', path);
  }
  await shot(page, 'error-dark');
  await open(page, LABELS);
  await shot(page, 'labels-dark');
  assert.deepEqual(wrong, []);
});
