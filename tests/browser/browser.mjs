// Which browser drives the pages: $BROWSER_BIN, one on the path, or the one that npm brought. There is always one, or an error.
import { spawnSync } from 'node:child_process';
import { accessSync, chmodSync, constants, existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { brotliDecompressSync } from 'node:zlib';

const NAMES = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable', 'chrome'];
const here = import.meta.dirname;
const packed = join(here, 'node_modules', '@sparticuz', 'chromium', 'bin');
const unpacked = join(here, 'node_modules', '.browser');

function onPath() {
  const places = (process.env.PATH ?? '').split(delimiter).flatMap((folder) => NAMES.map((name) => join(folder, name)));
  return places.find((place) => {
    try {
      accessSync(place, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

function unpack(name) {
  return brotliDecompressSync(readFileSync(join(packed, name)));
}

// The package holds a headless shell and the few libraries that a bare machine lacks.
function brought() {
  const path = join(unpacked, 'chromium');
  const libraries = join(unpacked, 'libraries');
  if (!existsSync(path)) {
    mkdirSync(libraries, { recursive: true });
    const untar = spawnSync('tar', ['-x', '-C', libraries], { input: unpack('al2023.tar.br') });
    if (untar.status !== 0) throw new Error(`the browser's libraries cannot be unpacked: ${untar.error ?? untar.stderr}`);
    writeFileSync(`${path}.part`, unpack('chromium.br'));
    chmodSync(`${path}.part`, 0o755);
    renameSync(`${path}.part`, path);
  }
  const lacks = String(spawnSync('ldd', [path]).stdout).includes('not found');
  const env = lacks ? { LD_LIBRARY_PATH: join(libraries, 'lib') } : {};
  return { path, env };
}

export function browser() {
  const path = process.env.BROWSER_BIN ?? onPath();
  if (path) return { path, env: {} };
  if (existsSync(packed)) return brought();
  throw new Error(`no browser: none of ${NAMES.join(', ')} is on the path, and npm brought none (scripts/browser.sh does)`);
}
