// The same for `import`.

import tally from './index.js';

export default tally;
export const {
  open,
  uuid,
  version,
  sqlite_version,
  Engine,
  Syncer,
  TallyError,
  AbortError,
  Code,
  JobStatus,
  EntryType,
  NichePreset,
  TranscriptMode,
  AssetType,
  Capability,
  SyncState,
  SyncErrorClass,
  Durability,
  SpendPolicy,
  LogLevel,
  CodeClass,
} = tally;
