-- A mirror of version 1 as its engine wrote it, with eleven operations pending; from sqlite3's .dump.
PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE tally_meta (
  name text primary key,
  value any
) strict, without rowid;
INSERT INTO tally_meta VALUES('epoch',0);
INSERT INTO tally_meta VALUES('job_floor',0);
CREATE TABLE tally_user (
  u integer primary key,
  id blob not null unique check (length(id) = 16),
  email text unique,
  raw_user_meta_data text
) strict;
INSERT INTO tally_user VALUES(1,X'00000075000070008000000000000001','ann@x','{"name": "Ann"}');
INSERT INTO tally_user VALUES(2,X'00000075000070008000000000000002',NULL,'{}');
CREATE TABLE tally_profile (
  u integer primary key references tally_user deferrable initially deferred,
  display_name text,
  avatar_url text,
  created_at integer,
  notification_prefs text,
  stripe_customer_id text,
  updated_at integer
) strict;
INSERT INTO tally_profile VALUES(1,'Ann',NULL,1768694401000000,'{"marketing": false, "job_failed": true, "low_credits": true, "job_complete": true}',NULL,1768694401000000);
INSERT INTO tally_profile VALUES(2,'User',NULL,1768694409000000,'{"marketing": false, "job_failed": true, "low_credits": true, "job_complete": true}',NULL,1768694409000000);
CREATE TABLE tally_account (
  u integer primary key references tally_user deferrable initially deferred,
  balance integer not null check (balance between -2147483648 and 2147483647),
  held integer not null check (held between 0 and 2147483647),
  seq integer not null,
  head integer not null,
  pending integer not null
) strict;
INSERT INTO tally_account VALUES(1,41,0,5,10,9);
INSERT INTO tally_account VALUES(2,10,0,1,12,1);
CREATE TABLE tally_operation (
  o integer primary key,
  id blob not null check (length(id) = 16),
  u integer not null,  -- 0: of no user.
  kind integer not null,
  at integer not null,
  fingerprint integer not null,
  result blob
) strict;
INSERT INTO tally_operation VALUES(1,X'0000006f000000800000000000000170',1,1,1768694401000000,-5030758100681874681,NULL);
INSERT INTO tally_operation VALUES(2,X'0000006f000000800000000000000270',1,3,1768694402000000,3527913233488485679,NULL);
INSERT INTO tally_operation VALUES(3,X'0000006f000000800000000000000370',1,9,1768694403000000,-2265891986925756969,NULL);
INSERT INTO tally_operation VALUES(4,X'0000006f000000800000000000000470',1,14,1768694404000000,3779380782413699331,NULL);
INSERT INTO tally_operation VALUES(5,X'0000006f000000800000000000000570',1,15,1768694405000000,-1248463817077059607,NULL);
INSERT INTO tally_operation VALUES(6,X'0000006f000000800000000000000670',1,16,1768694406000000,2961539110416743017,NULL);
INSERT INTO tally_operation VALUES(7,X'0000006f000000800000000000000770',1,16,1768694407000000,7419991118872794676,NULL);
INSERT INTO tally_operation VALUES(8,X'0000006f000000800000000000000970',1,17,1768694408000000,4194789675083511845,NULL);
INSERT INTO tally_operation VALUES(9,X'0000006f000000800000000000000a70',1,19,1768694408000000,8906622052289880007,NULL);
INSERT INTO tally_operation VALUES(11,X'0000006f000000800000000000000870',1,30,1768694408000000,-408352319373818546,NULL);
INSERT INTO tally_operation VALUES(12,X'0000006f000000800000000000000b70',2,1,1768694409000000,-3040369616797077721,NULL);
INSERT INTO tally_operation VALUES(13,X'0000006f000000800000000000000c70',0,5,1768694410000000,-6210998700726866149,NULL);
INSERT INTO tally_operation VALUES(14,X'0000006f000000800000000000000d70',1,7,1768694411000000,2881635548409076784,X'00000064000070008000000000000001');
INSERT INTO tally_operation VALUES(15,X'0000006f000000800000000000000e70',0,8,1768694412000000,1,NULL);  -- A purge, which is not pushed.
CREATE TABLE tally_entry_kind (
  kind integer primary key,
  type text not null check (type in ('purchase', 'usage', 'refund', 'grant', 'expire', 'reserve', 'subscription')),
  ordinal integer not null,  -- The entry's number in its operation.
  note text
) strict;
INSERT INTO tally_entry_kind VALUES(1,'grant',0,'Welcome bonus: 10 trial credits');
INSERT INTO tally_entry_kind VALUES(2,'purchase',0,NULL);
INSERT INTO tally_entry_kind VALUES(3,'grant',0,NULL);
INSERT INTO tally_entry_kind VALUES(4,'subscription',0,NULL);
INSERT INTO tally_entry_kind VALUES(5,'refund',0,NULL);
INSERT INTO tally_entry_kind VALUES(6,'expire',0,NULL);
INSERT INTO tally_entry_kind VALUES(7,'reserve',0,'Reserved for job');
INSERT INTO tally_entry_kind VALUES(8,'reserve',0,'Reservation converted to usage');
INSERT INTO tally_entry_kind VALUES(9,'usage',1,'Video generation');
INSERT INTO tally_entry_kind VALUES(10,'refund',2,'Unused credits refund');
INSERT INTO tally_entry_kind VALUES(11,'refund',0,'Job failed - credits released');
CREATE TABLE tally_entry (
  e integer primary key,
  u integer not null,
  seq integer not null,
  prev integer not null,
  j integer,
  kind integer not null,
  amount integer not null,
  balance_after integer not null
) strict;
INSERT INTO tally_entry VALUES(1,1,1,0,NULL,1,10,10);
INSERT INTO tally_entry VALUES(2,1,2,1,NULL,2,40,50);
INSERT INTO tally_entry VALUES(5,1,3,3,1,7,-8,42);
INSERT INTO tally_entry VALUES(9,1,4,4,1,8,8,50);
INSERT INTO tally_entry VALUES(10,1,5,1,1,9,-9,41);
INSERT INTO tally_entry VALUES(12,2,1,0,NULL,1,10,10);
CREATE TABLE tally_entry_text (
  e integer primary key,
  id blob unique check (length(id) = 16),
  created_at integer,
  note text,
  stripe_payment_id text
) strict;
INSERT INTO tally_entry_text VALUES(2,NULL,NULL,NULL,'pi_1');
CREATE TABLE tally_payment (
  k integer primary key,
  stripe_payment_id text not null unique,
  kind integer not null,
  u integer not null,
  amount integer not null,
  type text not null
) strict;
INSERT INTO tally_payment VALUES(1,'pi_1',3,1,40,'purchase');
CREATE TABLE tally_draft (
  d integer primary key,
  id blob not null unique check (length(id) = 16),
  session_token text not null,
  u integer references tally_user deferrable initially deferred,
  prompt_text text not null,
  template_id text,
  options text,
  created_at integer,
  updated_at integer,
  expires_at integer
) strict;
INSERT INTO tally_draft VALUES(1,X'00000064000070008000000000000001','s',1,'p',NULL,'{}',1768694410000000,1768694411000000,1769299210000000);
CREATE TABLE tally_voice_profile (
  v integer primary key,
  id blob not null unique check (length(id) = 16),
  u integer not null references tally_user deferrable initially deferred,
  name text not null,
  audio_path text not null,
  provider text,
  voice_id text,
  settings text,
  created_at integer
) strict;
CREATE TABLE tally_project (
  p integer primary key,
  id blob not null unique check (length(id) = 16),
  u integer not null references tally_user deferrable initially deferred,
  title text not null,
  prompt_text text not null,
  niche_preset text not null
    check (niche_preset in ('motivation', 'explainer', 'facts', 'history', 'finance', 'science')),
  target_minutes integer not null check (target_minutes between 1 and 10),
  v integer references tally_voice_profile deferrable initially deferred,
  transcript_mode text check (transcript_mode in ('auto', 'manual')),
  transcript_text text,
  settings text,
  created_at integer,
  updated_at integer
) strict;
INSERT INTO tally_project VALUES(1,X'00000070000070008000000000000001',1,'T','P','facts',1,NULL,'auto',NULL,'{}',1768694403000000,1768694403000000);
CREATE TABLE tally_job (
  j integer primary key,
  id blob not null unique check (length(id) = 16),
  u integer not null references tally_user deferrable initially deferred,
  p integer not null references tally_project deferrable initially deferred,
  created_at integer,
  status integer not null check (status between 0 and 11),
  progress integer check (progress between 0 and 100),
  steps_pct integer not null,
  hold integer not null check (hold between 0 and 2147483647),
  cost_credits_reserved integer,
  cost_credits_final integer,
  reservation blob,
  started_at integer,
  finished_at integer,
  claim_until integer,
  active_at integer not null
) strict;
INSERT INTO tally_job VALUES(1,X'0000006a000000800000000000000170',1,1,1768694404000000,2,6,50,0,8,9,X'0000006f000070008000000000000005',1768694407000000,NULL,NULL,1768694408000000);
CREATE TABLE tally_job_text (
  j integer primary key references tally_job deferrable initially deferred,
  status_message text,
  failed_step text,
  error_code text,
  error_message text,
  output_url text,
  manifest_json text
) strict;
CREATE TABLE tally_step (
  k integer primary key,
  id blob check (length(id) = 16),
  state integer not null check (state between 0 and 3),
  progress_pct integer check (progress_pct between 0 and 100),
  status_message text,
  error_message text,
  logs_url text,
  artifacts_json text,
  started_at integer,
  finished_at integer
) strict;
INSERT INTO tally_step VALUES(8,NULL,1,50,NULL,NULL,NULL,'{}',1768694407000000,NULL);
CREATE TABLE tally_step_name (
  step_order integer primary key,
  step_name text not null
) strict;
INSERT INTO tally_step_name VALUES(1,'SCRIPTING');
INSERT INTO tally_step_name VALUES(2,'VOICE_GEN');
INSERT INTO tally_step_name VALUES(3,'ALIGNMENT');
INSERT INTO tally_step_name VALUES(4,'VISUAL_PLAN');
INSERT INTO tally_step_name VALUES(5,'IMAGE_GEN');
INSERT INTO tally_step_name VALUES(6,'TIMELINE');
INSERT INTO tally_step_name VALUES(7,'RENDERING');
INSERT INTO tally_step_name VALUES(8,'PACKAGING');
CREATE TABLE tally_asset (
  a integer primary key,
  id blob not null unique check (length(id) = 16),
  j integer not null references tally_job deferrable initially deferred,
  type text not null
    check (type in ('video', 'audio', 'image', 'captions', 'manifest', 'zip', 'thumbnail')),
  url text not null,
  storage_path text not null,
  size_bytes integer,
  mime_type text,
  metadata_json text,
  created_at integer
) strict;
CREATE TABLE tally_outbox (
  n integer primary key,
  operations integer not null,
  body blob not null
) strict;
INSERT INTO tally_outbox VALUES(1,1,X'420202010000006f0000700080000000000000018089e797c8a7a40600000000750000700080000000000000010105616e6e40780103416e6e03000200010200020200');
INSERT INTO tally_outbox VALUES(2,1,X'490204030000006f0000700080000000000000028092e198c8a7a40600000000750000700080000000000000015008707572636861736500010470695f31020202011400020202030200');
INSERT INTO tally_outbox VALUES(3,1,X'570206090000006f000070008000000000000003809bdb99c8a7a406000000007000007000800000000000000100000075000070008000000000000001015401500566616374730200000000020202016400040404050200');
INSERT INTO tally_outbox VALUES(4,1,X'5802080e0000006f00007000800000000000000480a4d59ac8a7a406000000006a0000700080000000000000010000007000007000800000000000000100000075000070008000000000000001020202016400040406070200');
INSERT INTO tally_outbox VALUES(5,1,X'77020a0f0000006f00007000800000000000000580adcf9bc8a7a40600000000750000700080000000000000010000006a000070008000000000000001100202020164000404080702010000006a00000080000000000000017002020180a4d59ac8a7a406000000000100000000000080a4d59ac8a7a406');
INSERT INTO tally_outbox VALUES(6,1,X'8801020c100000006f00007000800000000000000680b6c99cc8a7a406010000006f0000700080000000000000050000006a0000700080000000000000010100020202015410060a0a0702010000006a00000080000000000000017002020180a4d59ac8a7a40600000010011000010000006f00007000800000000000000500000080adcf9bc8a7a406');
INSERT INTO tally_outbox VALUES(7,1,X'8b01020e100000006f00007000800000000000000780bfc39dc8a7a406010000006f0000700080000000000000050000006a0000700080000000000000010200030202015410060a0c0702010000006a00000080000000000000017002020180a4d59ac8a7a40601000010011000010000006f00007000800000000000000500000080b6c99cc8a7a406091000');
INSERT INTO tally_outbox VALUES(8,1,X'd20202101e0000006f00007000800000000000000880c8bd9ec8a7a4060002110000006f00007000800000000000000980c8bd9ec8a7a406010000006f0000700080000000000000050000006a00007000800000000000000109534352495054494e4764000000130000006f00007000800000000000000a80c8bd9ec8a7a406010000006f0000700080000000000000050000006a00007000800000000000000112040202015410060a0e0702010000006a00000080000000000000017002020180a4d59ac8a7a406020c6410011000010000006f0000700080000000000000050180bfc39dc8a7a406000080c8bd9ec8a7a4060702010000006a00000080000000000000017002020180a4d59ac8a7a40602000010011000010000006f0000700080000000000000050180bfc39dc8a7a406000080bfc39dc8a7a40609100100010000000001027b7d0180bfc39dc8a7a40600');
INSERT INTO tally_outbox VALUES(9,1,X'380418010000006f00007000800000000000000b80d1b79fc8a7a4060000000075000070008000000000000002000003000400010400020400');
INSERT INTO tally_outbox VALUES(10,1,X'37001a050000006f00007000800000000000000c80dab1a0c8a7a40600000000640000700080000000000000010173000170000001060200');
INSERT INTO tally_outbox VALUES(11,1,X'6f021c070000006f00007000800000000000000d80e3aba1c8a7a406000173000000750000700080000000000000010202020152000a14100602010000006400007000800000000000000101730001700001027b7d0180dab1a0c8a7a4060180dab1a0c8a7a4060180daceaee2caa406');
CREATE UNIQUE INDEX tally_operation_id on tally_operation (id, u);
CREATE INDEX tally_draft_session on tally_draft (session_token) where u is null;
CREATE INDEX tally_draft_expires on tally_draft (expires_at) where u is null;
CREATE INDEX tally_project_voice on tally_project (v) where v is not null;
CREATE INDEX tally_job_project on tally_job (p);
CREATE INDEX tally_job_hold on tally_job (u) where hold > 0;
CREATE INDEX tally_job_working on tally_job (status) where status between 1 and 9;
CREATE INDEX tally_asset_job on tally_asset (j);
CREATE VIEW users (id, email, raw_user_meta_data) as
select substr(h, 1, 8) || '-' || substr(h, 9, 4) || '-' || substr(h, 13, 4) || '-' || substr(h, 17, 4) || '-' || substr(h, 21),
  email, raw_user_meta_data
from (select *, lower(hex(id)) as h from tally_user);
CREATE VIEW tally_user_id_text (u, id) as
select u, substr(h, 1, 8) || '-' || substr(h, 9, 4) || '-' || substr(h, 13, 4) || '-' || substr(h, 17, 4) || '-' || substr(h, 21)
from (select u, lower(hex(id)) as h from tally_user);
CREATE VIEW tally_job_id_text (j, id) as
select j, substr(h, 1, 8) || '-' || substr(h, 9, 4) || '-' || substr(h, 31, 2) || substr(h, 13, 2) || '-' || substr(h, 15, 4) || '-' || substr(h, 19, 12)
from (select j, lower(hex(id)) as h from tally_job);
CREATE VIEW tally_project_id_text (p, id) as
select p, substr(h, 1, 8) || '-' || substr(h, 9, 4) || '-' || substr(h, 13, 4) || '-' || substr(h, 17, 4) || '-' || substr(h, 21)
from (select p, lower(hex(id)) as h from tally_project);
CREATE VIEW profiles (id, display_name, avatar_url, created_at, notification_prefs, stripe_customer_id, updated_at) as
select x.id, f.display_name, f.avatar_url, strftime('%Y-%m-%dT%H:%M:%S', (f.created_at - (f.created_at % 1000000 + 1000000) % 1000000) / 1000000, 'unixepoch') || printf('.%06dZ', (f.created_at % 1000000 + 1000000) % 1000000), f.notification_prefs, f.stripe_customer_id, strftime('%Y-%m-%dT%H:%M:%S', (f.updated_at - (f.updated_at % 1000000 + 1000000) % 1000000) / 1000000, 'unixepoch') || printf('.%06dZ', (f.updated_at % 1000000 + 1000000) % 1000000)
from tally_profile f join tally_user_id_text x on x.u = f.u;
CREATE VIEW credit_ledger (id, user_id, type, amount, note, created_at, job_id, stripe_payment_id, balance_after, seq) as
select
  case when length(h) = 32 and stored then
    substr(h, 1, 8) || '-' || substr(h, 9, 4) || '-' || substr(h, 13, 4) || '-' || substr(h, 17, 4) || '-' || substr(h, 21)
  else
    substr(h, 1, 8) || '-' || substr(h, 9, 4) || '-8' || ordinal || substr(h, 13, 2) || '-' || substr(h, 15, 4) || '-' || substr(h, 19, 12)
  end,
  user_id, type, amount, note, strftime('%Y-%m-%dT%H:%M:%S', (created_us - (created_us % 1000000 + 1000000) % 1000000) / 1000000, 'unixepoch') || printf('.%06dZ', (created_us % 1000000 + 1000000) % 1000000), job_id, stripe_payment_id, balance_after, seq
from (
  select
    lower(hex(coalesce(t.id, o.id))) as h, t.id is not null as stored, k.ordinal as ordinal,
    x.id as user_id, k.type as type, n.amount as amount, coalesce(t.note, k.note) as note,
    coalesce(t.created_at, o.at) as created_us, y.id as job_id,
    t.stripe_payment_id as stripe_payment_id, n.balance_after as balance_after, n.seq as seq
  from tally_entry n
  join tally_entry_kind k on k.kind = n.kind
  join tally_user_id_text x on x.u = n.u
  left join tally_operation o on o.o = n.e - k.ordinal
  left join tally_entry_text t on t.e = n.e
  left join tally_job_id_text y on y.j = n.j
);
CREATE VIEW draft_prompts (id, session_token, user_id, prompt_text, template_id, options, created_at, updated_at, expires_at) as
select substr(h, 1, 8) || '-' || substr(h, 9, 4) || '-' || substr(h, 13, 4) || '-' || substr(h, 17, 4) || '-' || substr(h, 21),
  session_token, user_id, prompt_text, template_id, options, strftime('%Y-%m-%dT%H:%M:%S', (created_at - (created_at % 1000000 + 1000000) % 1000000) / 1000000, 'unixepoch') || printf('.%06dZ', (created_at % 1000000 + 1000000) % 1000000), strftime('%Y-%m-%dT%H:%M:%S', (updated_at - (updated_at % 1000000 + 1000000) % 1000000) / 1000000, 'unixepoch') || printf('.%06dZ', (updated_at % 1000000 + 1000000) % 1000000), strftime('%Y-%m-%dT%H:%M:%S', (expires_at - (expires_at % 1000000 + 1000000) % 1000000) / 1000000, 'unixepoch') || printf('.%06dZ', (expires_at % 1000000 + 1000000) % 1000000)
from (select d.*, lower(hex(d.id)) as h, x.id as user_id from tally_draft d left join tally_user_id_text x on x.u = d.u);
CREATE VIEW projects (id, user_id, title, prompt_text, niche_preset, target_minutes, voice_profile_id, transcript_mode, transcript_text, settings, created_at, updated_at) as
select y.id, x.id, q.title, q.prompt_text, q.niche_preset, q.target_minutes,
  (select w.id from tally_voice_profile_id_text w where w.v = q.v),
  q.transcript_mode, q.transcript_text, q.settings, strftime('%Y-%m-%dT%H:%M:%S', (q.created_at - (q.created_at % 1000000 + 1000000) % 1000000) / 1000000, 'unixepoch') || printf('.%06dZ', (q.created_at % 1000000 + 1000000) % 1000000), strftime('%Y-%m-%dT%H:%M:%S', (q.updated_at - (q.updated_at % 1000000 + 1000000) % 1000000) / 1000000, 'unixepoch') || printf('.%06dZ', (q.updated_at % 1000000 + 1000000) % 1000000)
from tally_project q join tally_user_id_text x on x.u = q.u join tally_project_id_text y on y.p = q.p;
CREATE VIEW tally_voice_profile_id_text (v, id) as
select v, substr(h, 1, 8) || '-' || substr(h, 9, 4) || '-' || substr(h, 13, 4) || '-' || substr(h, 17, 4) || '-' || substr(h, 21)
from (select v, lower(hex(id)) as h from tally_voice_profile);
CREATE VIEW voice_profiles (id, user_id, name, audio_path, provider, voice_id, settings, created_at) as
select y.id, x.id, w.name, w.audio_path, w.provider, w.voice_id, w.settings, strftime('%Y-%m-%dT%H:%M:%S', (w.created_at - (w.created_at % 1000000 + 1000000) % 1000000) / 1000000, 'unixepoch') || printf('.%06dZ', (w.created_at % 1000000 + 1000000) % 1000000)
from tally_voice_profile w join tally_user_id_text x on x.u = w.u join tally_voice_profile_id_text y on y.v = w.v;
CREATE VIEW jobs (id, project_id, user_id, status, progress, status_message, cost_credits_reserved, cost_credits_final, failed_step, error_code, error_message, output_url, manifest_json, created_at, started_at, finished_at) as
select y.id, q.id, x.id,
  case w.status when 0 then 'PENDING' when 1 then 'QUEUED' when 10 then 'READY' when 11 then 'FAILED'
    else (select step_name from tally_step_name where step_order = w.status - 1) end,
  w.progress, t.status_message, w.cost_credits_reserved, w.cost_credits_final, t.failed_step,
  t.error_code, t.error_message, t.output_url, t.manifest_json,
  strftime('%Y-%m-%dT%H:%M:%S', (w.created_at - (w.created_at % 1000000 + 1000000) % 1000000) / 1000000, 'unixepoch') || printf('.%06dZ', (w.created_at % 1000000 + 1000000) % 1000000), strftime('%Y-%m-%dT%H:%M:%S', (w.started_at - (w.started_at % 1000000 + 1000000) % 1000000) / 1000000, 'unixepoch') || printf('.%06dZ', (w.started_at % 1000000 + 1000000) % 1000000), strftime('%Y-%m-%dT%H:%M:%S', (w.finished_at - (w.finished_at % 1000000 + 1000000) % 1000000) / 1000000, 'unixepoch') || printf('.%06dZ', (w.finished_at % 1000000 + 1000000) % 1000000)
from tally_job w
join tally_job_id_text y on y.j = w.j
join tally_project_id_text q on q.p = w.p
join tally_user_id_text x on x.u = w.u
left join tally_job_text t on t.j = w.j;
CREATE VIEW job_steps (id, job_id, step_name, step_order, state, progress_pct, status_message, error_message, logs_url, artifacts_json, started_at, finished_at) as
select
  case when s.id is not null then
    substr(lower(hex(s.id)), 1, 8) || '-' || substr(lower(hex(s.id)), 9, 4) || '-' || substr(lower(hex(s.id)), 13, 4) || '-' || substr(lower(hex(s.id)), 17, 4) || '-' || substr(lower(hex(s.id)), 21)
  else substr(y.id, 1, 14) || '8' || n.step_order || substr(y.id, 17) end,
  y.id, n.step_name, n.step_order,
  case coalesce(s.state, 0) when 0 then 'pending' when 1 then 'started' when 2 then 'succeeded' else 'failed' end,
  coalesce(s.progress_pct, 0), s.status_message, s.error_message, s.logs_url,
  case when s.k is null then '{}' else s.artifacts_json end,
  strftime('%Y-%m-%dT%H:%M:%S', (s.started_at - (s.started_at % 1000000 + 1000000) % 1000000) / 1000000, 'unixepoch') || printf('.%06dZ', (s.started_at % 1000000 + 1000000) % 1000000), strftime('%Y-%m-%dT%H:%M:%S', (s.finished_at - (s.finished_at % 1000000 + 1000000) % 1000000) / 1000000, 'unixepoch') || printf('.%06dZ', (s.finished_at % 1000000 + 1000000) % 1000000)
from tally_job w
join tally_step_name n
join tally_job_id_text y on y.j = w.j
left join tally_step s on s.k = w.j * 8 + n.step_order - 1;
CREATE VIEW assets (id, job_id, type, url, storage_path, size_bytes, mime_type, metadata_json, created_at) as
select substr(h, 1, 8) || '-' || substr(h, 9, 4) || '-' || substr(h, 13, 4) || '-' || substr(h, 17, 4) || '-' || substr(h, 21),
  job_id, type, url, storage_path, size_bytes, mime_type, metadata_json, strftime('%Y-%m-%dT%H:%M:%S', (created_at - (created_at % 1000000 + 1000000) % 1000000) / 1000000, 'unixepoch') || printf('.%06dZ', (created_at % 1000000 + 1000000) % 1000000)
from (select s.*, lower(hex(s.id)) as h, y.id as job_id from tally_asset s join tally_job_id_text y on y.j = s.j);
COMMIT;
pragma application_id = 1415670892; pragma user_version = 1;
