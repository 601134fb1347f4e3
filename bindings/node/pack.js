#!/usr/bin/env node
'use strict';
// Makes the npm package: this folder's files, the addon with the libraries that it needs beside it,
// and VERSION's number.
//
//   node pack.js ADDON OUT_FOLDER     prints the archive's path

const { execFileSync } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');

const top = path.join(__dirname, '..', '..');
const platform = `${process.platform}-${process.arch}`;

function stage(addon, into) {
  const manifest = JSON.parse(fs.readFileSync(path.join(__dirname, 'package.json'), 'utf8'));
  for (const entry of manifest.files.filter((name) => name !== 'prebuilds')) {
    fs.cpSync(path.join(__dirname, entry), path.join(into, entry), { recursive: true });
  }
  manifest.version = fs.readFileSync(path.join(top, 'VERSION'), 'utf8').trim();
  manifest.os = [process.platform];
  manifest.cpu = [process.arch];
  fs.writeFileSync(path.join(into, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`);
  const license = path.join(top, 'LICENSE');
  if (fs.existsSync(license)) fs.copyFileSync(license, path.join(into, 'LICENSE'));
  bundle(addon, path.join(into, 'prebuilds', platform));
}

/** The addon, and everything it needs but glibc, under names that no other library has. */
function bundle(addon, into) {
  fs.mkdirSync(into, { recursive: true });
  const python = process.env.TALLY_PYTHON || 'python3';
  const tool = (name, ...args) =>
    execFileSync(python, [path.join(top, 'bindings', 'package', name), ...args], {
      encoding: 'utf8',
    });
  const made = JSON.parse(tool('bundle.py', addon, into));
  if (!made.files.includes('tally.node')) throw new Error('bundle.py made no tally.node');
  tool('strict_versions.py', into);
}

function pack(addon, out) {
  const into = fs.mkdtempSync(path.join(os.tmpdir(), 'tally-pack-'));
  try {
    stage(path.resolve(addon), into);
    fs.mkdirSync(out, { recursive: true });
    const told = execFileSync(
      'npm',
      ['pack', '--json', '--offline', '--pack-destination', path.resolve(out)],
      {
        cwd: into,
        encoding: 'utf8',
      },
    );
    return path.join(path.resolve(out), JSON.parse(told)[0].filename);
  } finally {
    fs.rmSync(into, { recursive: true, force: true });
  }
}

if (process.argv.length !== 4) {
  console.error('usage: pack.js ADDON OUT_FOLDER');
  process.exit(2);
}
console.log(pack(process.argv[2], process.argv[3]));
