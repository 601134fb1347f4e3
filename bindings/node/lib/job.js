'use strict';
// A job from its reservation to its end, around a function that does the work.

const { JobStatus } = require('./tables.js');
const { whole, text } = require('./lines.js');
const { native } = require('./requests.js');
const { wrong_type } = require('./errors.js');

const statuses = Object.keys(JobStatus);
const first_stage = statuses.indexOf('SCRIPTING');
const last_stage = statuses.indexOf('PACKAGING');
const TTL_S = 300;

/** What the function gets. */
class RunningJob {
  #engine;
  #status;
  #resumes_at;
  #cost;
  #ended = false;
  #stop = new AbortController();
  #timer;

  constructor(engine, { job_id, status, resumes_at, cost, ttl }) {
    this.#engine = engine;
    this.job_id = job_id;
    this.#status = status;
    this.#resumes_at = resumes_at;
    this.#cost = cost;
    this.#timer = setInterval(() => this.#renew(ttl), (ttl * 1000) / 3).unref();
  }

  get status() {
    return this.#status;
  }

  /** Aborted when the claim is lost, or the caller's signal is aborted. */
  get signal() {
    return this.#stop.signal;
  }

  get has_ended() {
    return this.#ended;
  }

  async #renew(ttl) {
    try {
      await this.#engine.renew_claim({ job_id: this.job_id, ttl });
    } catch (error) {
      // A failure of the world passes, perhaps; a refusal says that the job is another's now.
      if (error.class !== 'failure') this.stop(error);
    }
  }

  stop(reason) {
    this.#stop.abort(reason);
  }

  release() {
    clearInterval(this.#timer);
  }

  async advance(to, status_message) {
    const receipt = await this.#engine.advance_job({ job_id: this.job_id, to, status_message });
    this.#status = to;
    return receipt;
  }

  progress(progress_pct, fields = {}) {
    return this.#engine.report_progress({
      ...fields,
      job_id: this.job_id,
      step_name: this.#status,
      progress_pct,
    });
  }

  /** READY is reached from PACKAGING alone: what is left is passed in the same commit. */
  async complete({ final_cost, ...fields } = {}) {
    const { job_id } = this;
    final_cost ??= this.#cost ?? (await this.#engine.job(job_id)).job.cost_credits_reserved;
    const next = this.#status === 'QUEUED' ? this.#resumes_at : statuses.indexOf(this.#status) + 1;
    const ops = statuses
      .slice(next, last_stage + 1)
      .map((to) => ({ op: 'advance_job', job_id, to }));
    ops.push({ ...fields, op: 'complete_job', job_id, final_cost });
    const receipt = await this.#engine.batch(ops);
    this.#status = 'READY';
    this.#ended = true;
    return receipt;
  }

  async fail(error_code, error_message) {
    const { job_id } = this;
    const receipt = await this.#engine.fail_job({ job_id, error_code, error_message });
    this.#status = 'FAILED';
    this.#ended = true;
    return receipt;
  }
}

function code_of(error) {
  if (error?.name === 'AbortError') return 'CANCELLED';
  return typeof error?.code === 'string' && error.code !== ''
    ? fitted(error.code, 60)
    : 'WORKER_ERROR';
}

/** A text of at most so many bytes that is whole UTF-8 without a zero, as the ledger takes it. */
function fitted(text, size) {
  const bytes = Buffer.from(text.replaceAll('\0', '\\0')).subarray(0, size);
  return new TextDecoder().decode(bytes, { stream: true }); // Without a character that is cut.
}

/** A job as it is, or as it will be once it is made. */
async function view_of(engine, job_id) {
  try {
    const { job, steps } = await engine.job(job_id);
    const open = steps.findIndex((step) => step.state !== 'succeeded');
    return { status: job.status, resumes_at: first_stage + Math.max(open, 0) };
  } catch (error) {
    if (error.code === 'job_not_found') return {};
    throw error;
  }
}

async function has_hold(engine, user_id, job_id) {
  return (await engine.account(user_id)).holds.some((hold) => hold.job_id === job_id);
}

/** What is to be done before the work can begin: one commit, which makes nothing or all of it. */
async function begin(engine, { user_id, project_id, job_id, amount }, ttl, signal) {
  const id = job_id ?? native.new_id();
  const { status, resumes_at = first_stage } =
    job_id === undefined ? {} : await view_of(engine, id);
  const ops = [];
  if (status === undefined) ops.push({ op: 'create_job', job_id: id, project_id, user_id });
  const reserves =
    status === undefined || (status === 'PENDING' && !(await has_hold(engine, user_id, id)));
  if (reserves) ops.push({ op: 'reserve_credits', user_id, job_id: id, amount });
  const queues = status === undefined || status === 'PENDING';
  if (queues) ops.push({ op: 'advance_job', job_id: id, to: 'QUEUED' });
  ops.push({ op: 'claim_job', job_id: id, ttl });
  await engine.batch(ops, { signal });
  return new RunningJob(engine, {
    job_id: id,
    status: queues ? 'QUEUED' : status,
    resumes_at,
    cost: reserves ? amount : undefined,
    ttl,
  });
}

async function run_job(engine, job, work) {
  if (typeof work !== 'function') throw wrong_type('what does the work', 'a function', work);
  const { amount, ttl = TTL_S, signal } = job;
  whole('amount', amount);
  whole('ttl', ttl);
  text('job_id', job.job_id);
  const running = await begin(engine, job, ttl, signal);
  const stop = () => running.stop(signal.reason);
  signal?.addEventListener('abort', stop, { once: true });
  if (signal?.aborted) stop();
  try {
    const value = await work(running);
    if (!running.has_ended) await running.complete();
    return value;
  } catch (error) {
    await fail(running, error);
    throw error;
  } finally {
    running.release();
    signal?.removeEventListener('abort', stop);
  }
}

async function fail(running, error) {
  if (running.has_ended) return;
  const message = fitted(String(error?.message ?? error), 10_000) || undefined;
  try {
    await running.fail(code_of(error), message);
  } catch (failure) {
    throw new AggregateError([error, failure], 'the work failed, and so did telling the ledger');
  }
}

module.exports = { run_job };
