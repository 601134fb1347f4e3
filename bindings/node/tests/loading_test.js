'use strict';
// How the addon is found and loaded, and what it sees of its host.

const assert = require('node:assert/strict');
const fs = require('node:fs');
const path = require('node:path');
const { test } = require('node:test');
const {
  tally,
  folder,
  run,
  script,
  exports_openssl,
  uses_openssl,
  binds_to_its_own,
} = require('./support.js');

const root = path.join(__dirname, '..');
const addon = process.env.TALLY_NODE_ADDON;
const linux = { skip: process.platform === 'linux' ? false : 'tally-skip: for Linux' };

test('the addon sees the C header and nothing else of ours', () => {
  const ours = new Set(fs.readdirSync(path.join(root, 'src')));
  for (const file of ours) {
    const text = fs.readFileSync(path.join(root, 'src', file), 'utf8');
    for (const [, name] of text.matchAll(/^\s*#\s*include\s+"([^"]+)"/gm)) {
      assert.ok(ours.has(name) || name === 'tally.h', `${file} includes ${name}`);
    }
    for (const [, name] of text.matchAll(/^\s*#\s*include\s+<([^>]+)>/gm)) {
      assert.ok(
        name === 'node_api.h' || (!name.includes('/') && !name.includes('.')),
        `${file} includes ${name}`,
      );
    }
  }
});

test('import and require give the same', async () => {
  const imported = await import('../lib/index.mjs');
  assert.deepEqual(Object.keys(imported).sort(), [...Object.keys(tally), 'default'].sort());
  for (const [name, value] of Object.entries(tally)) assert.equal(imported[name], value);
  assert.equal(imported.default, tally);
  assert.match(tally.version, /^\d+\.\d+\.\d+$/);
  assert.match(tally.sqlite_version, /^3\./);
  assert.match(
    tally.uuid(),
    /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/,
  );
});

test('without an addon the error says what was looked for, and what is there', (t) => {
  const copy = folder(t);
  fs.cpSync(path.join(root, 'lib'), path.join(copy, 'lib'), { recursive: true });
  fs.mkdirSync(path.join(copy, 'prebuilds', 'plan9-mips'), { recursive: true });
  const text =
    'try { require(process.argv[1]); } catch (error) { console.log(error.code, error.message); }';
  const main = run(process.execPath, ['-e', text, path.join(copy, 'lib', 'index.js')], {
    env: { TALLY_NODE_ADDON: '' },
  });
  for (const part of [
    'ERR_TALLY_ADDON',
    'plan9-mips',
    path.join('prebuilds', `${process.platform}-${process.arch}`, 'tally.node'),
    process.version,
  ]) {
    assert.ok(main.stdout.includes(part), main.stdout);
  }
  const other = run(process.execPath, ['-e', text, path.join(copy, 'lib', 'index.js')], {
    env: { TALLY_NODE_ADDON: '/no/such.node' },
  });
  assert.ok(other.stdout.includes('looked for: /no/such.node'), other.stdout);
});

test('in an asar archive the addon beside it is taken', (t) => {
  const at = folder(t);
  const inside = path.join(at, 'app.asar', 'node_modules', 'tally');
  const outside = path.join(
    at,
    'app.asar.unpacked',
    'node_modules',
    'tally',
    'prebuilds',
    `${process.platform}-${process.arch}`,
  );
  fs.cpSync(path.join(root, 'lib'), path.join(inside, 'lib'), { recursive: true });
  fs.mkdirSync(outside, { recursive: true });
  fs.copyFileSync(addon, path.join(outside, 'tally.node'));
  const done = run(
    process.execPath,
    ['-p', 'require(process.argv[1]).version', path.join(inside, 'lib', 'index.js')],
    { env: { TALLY_NODE_ADDON: '' } },
  );
  assert.equal(done.stdout, `${tally.version}\n`, done.stderr);
});

test('the addon exports its entry and nothing else', linux, () => {
  const symbols = run('nm', ['-D', '--defined-only', addon])
    .stdout.trim()
    .split('\n')
    .map((line) => line.split(' ').pop());
  assert.deepEqual(symbols.sort(), [
    'napi_register_module_v1',
    'node_api_module_get_api_version_v1',
  ]);
});

test('its OpenSSL is the one that it was built with, not the one inside node', linux, () => {
  exports_openssl();
  const done = script(`(async () => {${uses_openssl}})();`, [], { env: { LD_DEBUG: 'bindings' } });
  assert.equal(done.status, 0);
  binds_to_its_own(done.stderr, /tally\.node$/);
});
