'use strict';
// Finds and loads the addon.

const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');

const ABI_VERSION = 1;
const prebuilds = path.join(__dirname, '..', 'prebuilds');
const platform = `${process.platform}-${process.arch}`;

// Electron shows what is packed into app.asar as files, but the system's loader cannot read them:
// the addon and the libraries beside it have to be unpacked.
function unpacked(file) {
  const outside = file.replace(/\.asar([\\/])/, '.asar.unpacked$1');
  return fs.existsSync(outside) ? outside : file;
}

function there() {
  try {
    return fs.readdirSync(prebuilds).join(', ') || 'nothing';
  } catch {
    return 'no such folder';
  }
}

function libc() {
  if (process.platform !== 'linux') return '';
  const glibc = process.report?.getReport().header.glibcVersionRuntime;
  return glibc ? `, glibc ${glibc}` : ', no glibc (the prebuilt addon needs it)';
}

function failure(file, cause) {
  const text =
    `tally: no addon could be loaded for ${platform}, Node ${process.version}${libc()}.\n` +
    `  looked for: ${file}\n` +
    `  in prebuilds: ${there()}\n` +
    `  reason: ${cause.message}\n` +
    '  TALLY_NODE_ADDON=/path/to/tally.node names another one.';
  return Object.assign(new Error(text, { cause }), { code: 'ERR_TALLY_ADDON' });
}

// Node and Electron export the OpenSSL or BoringSSL inside them, and to the loader those come
// before the one that our libpq was built with. The addon of the package, and the libraries beside
// it, ask for theirs by version (bindings/package/strict_versions.py). An addon that was just built
// has the system's libraries, which do not: there RTLD_DEEPBIND turns the order around. It does so
// for malloc, too, and so is nothing for a process with an allocator of its own.
function open(file, is_packaged) {
  const { RTLD_NOW = 0, RTLD_DEEPBIND = 0 } = os.constants.dlopen;
  const module = { exports: {} };
  process.dlopen(module, file, is_packaged ? RTLD_NOW : RTLD_NOW | RTLD_DEEPBIND);
  const native = module.exports;
  if (native.abi_version !== ABI_VERSION) {
    throw new Error(`its ABI is ${native.abi_version}, and this package needs ${ABI_VERSION}`);
  }
  return native;
}

function load() {
  const given = process.env.TALLY_NODE_ADDON;
  const file = path.resolve(given || unpacked(path.join(prebuilds, platform, 'tally.node')));
  try {
    return open(file, !given);
  } catch (error) {
    throw failure(file, error);
  }
}

module.exports = load();
