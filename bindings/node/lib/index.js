'use strict';
// Start here: what the package exports.

const tables = require('./tables.js');
const { TallyError, AbortError } = require('./errors.js');
const { Engine } = require('./engine.js');
const { Syncer } = require('./syncer.js');
const { native } = require('./requests.js');

const { operations, ...words } = tables;

module.exports = {
  ...words,
  open: Engine.open,
  uuid: () => native.new_id(),
  version: native.version,
  sqlite_version: native.sqlite_version,
  Engine,
  Syncer,
  TallyError,
  AbortError,
};
