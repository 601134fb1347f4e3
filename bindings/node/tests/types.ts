// Everything that the package exports, used as its types say; tsc checks this file and runs nothing.

import tallyDefault, {
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
  type Account,
  type Audit,
  type Backup,
  type Batch,
  type BatchOperation,
  type Call,
  type Check,
  type CodeName,
  type DraftRow,
  type Entry,
  type Id,
  type JobRow,
  type JobView,
  type Json,
  type Lease,
  type Measurement,
  type Metric,
  type OpenOptions,
  type Operation,
  type ProjectRow,
  type Receipt,
  type Rejected,
  type Result,
  type Row,
  type RunningJob,
  type Stage,
  type SyncOptions,
  type SyncStatus,
  type TableDigest,
} from 'tally';
import tally = require('tally');

const options: OpenOptions = {
  durability: 'full',
  spend_policy: SpendPolicy.leased,
  must_exist: true,
  busy_timeout_ms: 1,
  verdict_timeout_ms: 1,
  low_credits: 5,
  cache_kib: 1,
  measure: true,
  signal: new AbortController().signal,
};

async function operations(engine: Engine, user_id: Id, job_id: Id): Promise<void> {
  const call: Call = { op_id: uuid(), at: new Date(), signal: AbortSignal.timeout(1) };
  const receipt: Receipt = await engine.create_user({ user_id, email: null }, call);
  const balance: number | null = receipt.balance;
  const id: Id | null = (await engine.claim_draft({ session_token: 's', user_id })).id;
  void [balance, id];
  await engine.add_credits({ user_id, amount: 1, type: EntryType.grant, note: undefined });
  await engine.purge_expired_drafts();
  await engine.create_project({
    project_id: uuid(),
    user_id,
    title: 't',
    prompt_text: 'p',
    niche_preset: 'finance',
    target_minutes: 1,
    transcript_mode: TranscriptMode.auto,
    settings: { a: [1, null, 2n] },
  });
  await engine.advance_job({ job_id, to: JobStatus.QUEUED });
  await engine.report_progress({ job_id, step_name: 'RENDERING', progress_pct: 5 });
  await engine.add_asset({
    asset_id: uuid(),
    job_id,
    type: AssetType.zip,
    url: 'u',
    storage_path: 's',
  });
  const ops: BatchOperation[] = [
    { op: 'reserve_credits', user_id, job_id, amount: 1, op_id: uuid() },
  ];
  await engine.batch(ops);
  const batch: Batch = { op: 'batch', ops };
  await engine.apply(batch);
  await engine.apply({ op: 'sweep', grace: 5, at: '2026-01-18T00:00:00.000000Z' });
  const operation: Operation = { op: 'create_user', user_id };
  const results: Result[] = await engine.submit([operation, batch, '{}']);
  const lines: string = await engine.submit('', { text: true });
  void [results, lines];

  const now: Receipt = engine.sync.reserve_credits({ user_id: uuid(), job_id: uuid(), amount: 8 });
  const applied: Receipt = engine.sync.batch([{ op: 'release_job_credits', job_id: now.op_id }]);
  // @ts-expect-error: no promise
  engine.sync.apply({ op: 'release_job_credits', job_id: applied.op_id }).then();
  // @ts-expect-error: no amount
  await engine.reserve_credits({ user_id, job_id });
  // @ts-expect-error: amounts are numbers
  await engine.reserve_credits({ user_id, job_id, amount: 5n });
  // @ts-expect-error: and no texts
  await engine.reserve_credits({ user_id, job_id, amount: '5' });
  // @ts-expect-error: no such type
  await engine.add_credits({ user_id, amount: 1, type: 'gift' });
  // @ts-expect-error: no such field
  await engine.create_user({ user_id, color: 'red' });
  // @ts-expect-error: a PENDING job has no step
  await engine.report_progress({ job_id, step_name: 'PENDING', progress_pct: 5 });
  // @ts-expect-error: a title cannot be cleared
  await engine.update_project({ project_id: uuid(), user_id, title: null });
  // @ts-expect-error: no such operation
  await engine.apply({ op: 'fly' });
  // @ts-expect-error: a batch in a batch
  await engine.batch([batch]);
  // @ts-expect-error: no such operation either
  await engine.mint_credits({ user_id });
}

async function reads(engine: Engine, user_id: Id): Promise<void> {
  const balance: number = engine.balance(user_id);
  const check: Check = engine.check(user_id);
  const account: Account = await engine.account(user_id);
  const entries: Entry[] = await engine.history(user_id, { limit: 5, before_seq: 9 });
  for await (const entry of engine.entries(user_id, { page: 5 }))
    void (entry satisfies Entry).seq.toFixed();
  const project: ProjectRow = await engine.project(user_id);
  const text: string = await engine.project(user_id, { text: true });
  const { job, steps, assets }: JobView = await engine.job(user_id);
  const jobs: JobRow[] = await engine.jobs(user_id);
  const drafts: DraftRow[] = await engine.drafts(user_id);
  const users: Id[] = await engine.users();
  const rows: Row[] = await engine.rows('assets', { user_id });
  const digest: TableDigest[] = await engine.digest(user_id);
  const audit: Audit = await engine.audit();
  const pending: number = await engine.pending_operations();
  const backup: Backup = await engine.backup('backup.db', { replace: true });
  const metrics: Metric[] = engine.metrics();
  engine.on('metric', (measured: Measurement) => void [measured.kind, metrics, backup.bytes]);
  const settings: Json = project.settings;
  const stage: Stage | undefined = steps[0]?.step_name;
  void [
    balance,
    check.held,
    account.holds[0]?.amount,
    entries,
    text,
    job.status,
    assets,
    jobs,
    drafts,
    users,
    rows,
    digest,
    audit.findings,
    pending,
    settings,
    stage,
  ];

  // @ts-expect-error: the balance is there at once
  engine.balance(user_id).then();
  // @ts-expect-error: no such table
  await engine.rows('passwords');
  // @ts-expect-error: an id is a string
  engine.balance(5);
}

async function jobs(engine: Engine, user_id: Id): Promise<void> {
  const value: number = await engine.job(
    { user_id, project_id: uuid(), amount: 5, ttl: 60 },
    async (job: RunningJob) => {
      await job.advance('SCRIPTING', 'on it');
      await job.progress(50, { status_message: 'half' });
      await job.complete({ final_cost: 3, output_url: 'u' });
      // @ts-expect-error: that is complete()'s
      await job.advance('READY');
      return job.signal.aborted ? 1 : 2;
    },
  );
  void value;
}

async function sync(engine: Engine): Promise<void> {
  const sync_options: SyncOptions = { conninfo: 'c', token: 't', schema: 's', lease_size: 5 };
  await using syncer: Syncer = engine.syncer(sync_options);
  const state: SyncState = await syncer.run(1000, { signal: AbortSignal.timeout(5) });
  await syncer.start();
  syncer.ref().unref().stop();
  const job_id: Id | null = await syncer.claim_next(60, { timeout_ms: 5 });
  const equal: boolean = await syncer.verify(uuid());
  await syncer.resume('t');
  await syncer.enrol_anew();
  const status: SyncStatus | null = await engine.sync_status();
  const leases: Lease[] = await engine.leases();
  const rejected: Rejected[] = await engine.rejected();
  await engine.dismiss(1);
  const retried: Receipt = await engine.retry(1);
  await engine.subscribe([uuid()]);
  await engine.subscribe(null);
  void [
    state === 'synced',
    job_id,
    equal,
    status?.error_class === SyncErrorClass.local,
    leases,
    rejected,
    retried,
  ];
  syncer.on('rejected', ({ number, operation }) => void [number.toFixed(), operation.op_id]);
  syncer.on('verdict', ({ op_id, code }) => void [op_id, code === 'ok']);
  syncer.on('progress', ({ acked, pending }) => void (acked + pending));
  syncer.on('state', (told) => void (told.state === SyncState.synced && told.error));
  syncer.on('changed', ({ user_ids }) => void user_ids.length);
  syncer.once('diverged', ({ user_id }) => void user_id);
  engine.on('job_complete', ({ user_id, job_id }) => void [user_id, job_id]);
  engine.on('low_credits', ({ balance }) => void balance.toFixed());
  engine.on('log', ({ level }) => void (level === LogLevel.error));

  // @ts-expect-error: no such event has a number
  engine.on('job_failed', ({ number }) => void number);
  // @ts-expect-error: made by engine.syncer()
  new Syncer();
  // @ts-expect-error: made by open()
  new Engine();
}

function errors(error: unknown): CodeName | undefined {
  if (error instanceof AbortError) return void (error.op_id, error.code satisfies 'ABORT_ERR');
  if (!(error instanceof TallyError)) throw error;
  const number: number = error.number;
  const kind: 'refusal' | 'failure' = error.class;
  void [number === Code.insufficient_credits, kind === CodeClass.refusal, error.index, error.op_id];
  switch (error.code) {
    case 'insufficient_credits':
    case 'busy':
      return error.code;
    // @ts-expect-error: no such code
    case 'no_money':
      return undefined;
    default:
      return undefined;
  }
}

export async function all(): Promise<void> {
  await using engine = await open('mirror.db', options);
  const other: Engine = await tally.open(new URL('file:///mirror.db'));
  await (await tallyDefault.open('x')).close();
  void [
    version.length,
    sqlite_version,
    NichePreset.facts,
    Capability.author,
    Durability.normal,
    other.path,
    other.is_closed,
  ];
  await operations(engine, uuid(), uuid()).catch(errors);
  await reads(engine, uuid());
  await jobs(engine, uuid());
  await sync(engine);
}
