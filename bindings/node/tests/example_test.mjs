// The README's example, as somebody who installed the package would run it.

import assert from 'node:assert/strict';
import child_process from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'tally-node-'));
try {
  fs.mkdirSync(path.join(folder, 'node_modules'));
  fs.symlinkSync(root, path.join(folder, 'node_modules', 'tally'));
  fs.copyFileSync(path.join(root, 'example.mjs'), path.join(folder, 'example.mjs'));
  const out = child_process.execFileSync(process.execPath, ['example.mjs'], {
    cwd: folder,
    encoding: 'utf8',
  });
  assert.equal(
    out,
    [
      'only 2 credits left',
      '4 credits',
      'not enough for another',
      '5 refund 2: 4',
      '4 usage -6: 2',
      '3 reserve 6: 8',
      '2 reserve -8: 2',
      '1 grant 10: 10',
      '',
    ].join('\n'),
  );
  const example = fs.readFileSync(path.join(root, 'example.mjs'), 'utf8');
  const shown = fs.readFileSync(path.join(root, 'README.md'), 'utf8');
  const code = example.slice(example.indexOf('import '));
  assert.ok(shown.includes(code), 'README.md shows another example.mjs');
} finally {
  fs.rmSync(folder, { recursive: true, force: true });
}
console.log('the example runs as the README says');
