'use strict';
// The types, by tsc, for both ways of importing and the strictest settings.

const assert = require('node:assert/strict');
const fs = require('node:fs');
const path = require('node:path');
const { test } = require('node:test');
const { run, folder } = require('./support.js');

const packages = { typescript: '5.6.3', '@types/node': '20.17.6' };
const build = process.env.TALLY_NODE_BUILD ?? path.join(__dirname, 'node_modules', '.tally');

function installed(name) {
  try {
    return JSON.parse(fs.readFileSync(path.join(build, 'node_modules', name, 'package.json')))
      .version;
  } catch {
    return undefined;
  }
}

/** Why there is no TypeScript here, or false. */
function no_typescript() {
  const missing = Object.entries(packages).filter(([name, version]) => installed(name) !== version);
  if (missing.length === 0) return false;
  if (process.env.TALLY_NO_INSTALL)
    return 'tally-skip: TALLY_NO_INSTALL is set, and TypeScript is missing';
  fs.mkdirSync(build, { recursive: true });
  fs.writeFileSync(path.join(build, 'package.json'), '{ "private": true }\n');
  const wanted = Object.entries(packages).map(([name, version]) => `${name}@${version}`);
  const done = run(
    'npm',
    [
      'install',
      '--prefix',
      build,
      '--no-save',
      '--no-package-lock',
      '--no-audit',
      '--no-fund',
      '--ignore-scripts',
      ...wanted,
    ],
    { timeout: 120_000 },
  );
  return done.status === 0
    ? false
    : `tally-skip: npm could not install TypeScript: ${done.stderr.split('\n')[0]}`;
}

const skip = no_typescript();

test('types as both kinds of module have them', { skip }, (t) => {
  const at = folder(t);
  const modules = path.join(at, 'node_modules');
  fs.mkdirSync(modules);
  fs.symlinkSync(path.join(__dirname, '..'), path.join(modules, 'tally'));
  for (const name of ['@types', 'undici-types']) {
    fs.symlinkSync(path.join(build, 'node_modules', name), path.join(modules, name));
  }
  const files = ['types.cts', 'types.mts'];
  for (const name of files) fs.copyFileSync(path.join(__dirname, 'types.ts'), path.join(at, name));
  const compilerOptions = {
    module: 'nodenext',
    moduleResolution: 'nodenext',
    target: 'es2022',
    lib: ['es2022', 'esnext.disposable'],
    types: ['node'],
    strict: true,
    noEmit: true,
    exactOptionalPropertyTypes: true,
    noUncheckedIndexedAccess: true,
    skipLibCheck: false,
    preserveSymlinks: true,
  };
  fs.writeFileSync(path.join(at, 'tsconfig.json'), JSON.stringify({ compilerOptions, files }));
  const tsc = path.join(build, 'node_modules', 'typescript', 'bin', 'tsc');
  const done = run(process.execPath, [tsc, '-p', at]);
  assert.equal(done.stdout + done.stderr, '');
  assert.equal(done.status, 0);
});
