-- Migration: 20260201000002_operations.sql
-- The contract's operations on canonical. tally.apply_operations takes the raw lines of a trace and
-- answers each; the PRD's functions are thin wrappers over the same functions. Reading order: decode
-- (a line becomes a tally.op, or no operation), one function op_… per operation (its checks in the
-- contract's order, then its writes), apply_one (seen before? fields? then the operation),
-- apply_batch, apply_operations, the PRD's functions, rows and digest. Re-runnable.

set local lock_timeout = '10s';
set local search_path = pg_catalog;

-- For this transaction only, as in the integrity migration.
grant tally_owner to current_user;
grant usage, create on schema tally to tally_owner;
grant create on schema public to tally_owner;

-- Types -----------------------------------------------------------------------------------------

do $$
begin
  if to_regtype('tally.line_fields') is null then
    -- The fields of a line as raw JSON, so that 8, 8.0 and "8" stay apart.
    create type tally.line_fields as (
      op json, op_id json, at json, reservation json, ops json, user_id json, job_id json, project_id json,
      draft_id json, voice_profile_id json, asset_id json, lease_id json, email json, display_name json,
      stripe_customer_id json, stripe_payment_id json, session_token json, template_id json, title json, name json,
      provider json, voice_id json, type json, mime_type json, step_name json, error_code json, niche_preset json,
      transcript_mode json, "to" json, avatar_url json, note json, audio_path json, status_message json,
      logs_url json, url json, storage_path json, output_url json, error_message json, prompt_text json,
      transcript_text json, amount json, final_cost json, target_minutes json, progress_pct json, ttl json,
      grace json, size_bytes json, notification_prefs json, options json, settings json, artifacts_json json,
      metadata_json json, manifest_json json
    );
    -- One operation, its fields typed and its defaults filled in. error: what the fields by
    -- themselves are refused for. given: the fields of an update that null would clear.
    create type tally.op as (
      op text, op_id uuid, at timestamptz, error text, fingerprint bytea, reservation uuid, given text[],
      has_user boolean, has_job boolean, in_batch boolean, inner_first integer, inner_count integer,
      user_id uuid, job_id uuid, project_id uuid, draft_id uuid, voice_profile_id uuid, asset_id uuid,
      lease_id uuid, email text, display_name text, stripe_customer_id text, stripe_payment_id text,
      session_token text, template_id text, title text, name text, provider text, voice_id text, type text,
      mime_type text, step_name text, error_code text, niche_preset text, transcript_mode text, "to" text,
      avatar_url text, note text, audio_path text, status_message text, logs_url text, url text, storage_path text,
      output_url text, error_message text, prompt_text text, transcript_text text, amount bigint,
      final_cost bigint, target_minutes integer, progress_pct integer, ttl integer, grace integer,
      size_bytes bigint, notification_prefs jsonb, options jsonb, settings jsonb, artifacts_json jsonb,
      metadata_json jsonb, manifest_json jsonb
    );
    -- A job with its state, as an operation finds it.
    create type tally.job as (
      id uuid, project_id uuid, user_id uuid, status text, cost_credits_final integer,
      hold integer, reservation uuid, claim_until timestamptz, active_at timestamptz
    );
    -- What an operation did: its result and the account after it. forget: not to be remembered.
    create type tally.outcome as (
      result text, id uuid, index integer, forget boolean, account tally.accounts
    );
  end if;
end;
$$;

-- Decoding --------------------------------------------------------------------------------------

-- How deep the brackets of a JSON text nest, those in strings aside.
create or replace function tally.nesting(t text)
returns bigint
language sql
immutable
set search_path = ''
as $$
  select coalesce(max(depth), 0)
    from (select sum(case when c in ('[', '{') then 1 else -1 end) over (order by n) as depth
            from unnest(string_to_array(
                   regexp_replace(regexp_replace(t, '"(?:[^"\\]|\\.)*"', '', 'g'), '[^][{}]', '', 'g'), null))
                 with ordinality b(c, n)) d;
$$;

-- A line as a JSON object, or null: no JSON, no object, an escape that is no character, or nested
-- deeper than 1000. U+0000, which JSON may escape and Postgres cannot hold, becomes the escape nul,
-- which occurs nowhere else in the line.
create or replace function tally.parse(line text, out doc json, out nul text)
language plpgsql
set search_path = ''
as $$
declare
  v_escapes boolean := strpos(line, '\u') > 0;
begin
  if line is null then
    return;
  end if;
  if length(line) > 1000
     and 2 * length(line) - length(replace(line, '[', '')) - length(replace(line, '{', '')) > 1000
     and tally.nesting(line) > 1000 then
    return;
  end if;
  begin
    if v_escapes and strpos(line, '\u0000') > 0 then
      nul := (select '\u' || to_hex(57344 + n) from generate_series(0, 6399) n
               where strpos(lower(line), '\u' || to_hex(57344 + n)) = 0 limit 1);
      line := regexp_replace(line, '(?<!\\)((\\\\)*)\\u0000', '\1\' || nul, 'g');
    end if;
    doc := line::json;
    if json_typeof(doc) <> 'object' then
      doc := null;
    elsif v_escapes then
      -- Reads every escape, and so fails on half a surrogate pair.
      perform from json_object_keys(doc);
    end if;
  exception when others then
    doc := null;
  end;
end;
$$;

-- A JSON field as jsonb, or null where it is beyond the contract's limits. Costly numbers are
-- refused before anything expands them.
create or replace function tally.read_json(field json)
returns jsonb
language plpgsql
immutable
set search_path = ''
as $$
declare
  v_raw text := field::text;
  v_json jsonb;
  v_text text;
begin
  if length(v_raw) > 65536 or v_raw ~ '[0-9][eE][-+]?[0-9]{3}' then
    begin
      if exists (
        select from regexp_matches(regexp_replace(v_raw, '"(?:[^"\\]|\\.)*"', '""', 'g'),
                                   '([0-9.]+)[eE][-+]?0*([0-9]*)', 'g') m
         where length(m[2]) > 2 and length(m[1]) <= 60 and m[1] ~ '[1-9]') then
        return null;
      end if;
      v_json := v_raw::jsonb;
      v_text := v_json::text;
    exception when others then
      return null;
    end;
  else
    v_json := v_raw::jsonb;
    v_text := v_json::text;
  end if;
  if octet_length(v_text) > 65536 then
    return null;
  end if;
  if length(v_text) > 40 and v_text ~ '[0-9](\.?[0-9]){40}' and exists (
    select from regexp_matches(regexp_replace(v_text, '"(?:[^"\\]|\\.)*"', '""', 'g'), '[0-9.]+', 'g') m
     where length(replace(m[1], '.', '')) > 40) then
    return null;
  end if;
  if 2 * length(v_text) - length(replace(v_text, '[', '')) - length(replace(v_text, '{', '')) > 32
     and tally.nesting(v_text) > 32 then
    return null;
  end if;
  return v_json;
end;
$$;

-- One JSON object as an operation; its op is null where it is none. Inside a batch (and for the
-- PRD's functions) the time is given, and an at of its own makes it none.
create or replace function tally.decode(doc json, nul text, given_at timestamptz)
returns tally.op
language plpgsql
set search_path = ''
as $$
declare
  f tally.line_fields := json_populate_record(null::tally.line_fields, doc);
  o tally.op;
  g tally.op;
  d tally.operations;
  v_keys text[] := array(select json_object_keys(doc));
  v_at text;
  v_bad boolean;
begin
  o := row(null, null, null, null, null,
    case when f.reservation::text ~* '^"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"$' then (f.reservation #>> '{}')::uuid end,
    null, null, null, null, null, null,
    case when f.user_id::text ~* '^"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"$' then (f.user_id #>> '{}')::uuid end,
    case when f.job_id::text ~* '^"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"$' then (f.job_id #>> '{}')::uuid end,
    case when f.project_id::text ~* '^"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"$' then (f.project_id #>> '{}')::uuid end,
    case when f.draft_id::text ~* '^"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"$' then (f.draft_id #>> '{}')::uuid end,
    case when f.voice_profile_id::text ~* '^"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"$' then (f.voice_profile_id #>> '{}')::uuid end,
    case when f.asset_id::text ~* '^"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"$' then (f.asset_id #>> '{}')::uuid end,
    case when f.lease_id::text ~* '^"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"$' then (f.lease_id #>> '{}')::uuid end,
    case when left(f.email::text, 1) = '"' and octet_length(f.email #>> '{}') <= 255 then f.email #>> '{}' end,
    case when left(f.display_name::text, 1) = '"' and octet_length(f.display_name #>> '{}') <= 255 then f.display_name #>> '{}' end,
    case when left(f.stripe_customer_id::text, 1) = '"' and octet_length(f.stripe_customer_id #>> '{}') <= 255 then f.stripe_customer_id #>> '{}' end,
    case when left(f.stripe_payment_id::text, 1) = '"' and octet_length(f.stripe_payment_id #>> '{}') <= 255 then f.stripe_payment_id #>> '{}' end,
    case when left(f.session_token::text, 1) = '"' and octet_length(f.session_token #>> '{}') <= 255 then f.session_token #>> '{}' end,
    case when left(f.template_id::text, 1) = '"' and octet_length(f.template_id #>> '{}') <= 255 then f.template_id #>> '{}' end,
    case when left(f.title::text, 1) = '"' and octet_length(f.title #>> '{}') <= 255 then f.title #>> '{}' end,
    case when left(f.name::text, 1) = '"' and octet_length(f.name #>> '{}') <= 255 then f.name #>> '{}' end,
    case when left(f.provider::text, 1) = '"' and octet_length(f.provider #>> '{}') <= 255 then f.provider #>> '{}' end,
    case when left(f.voice_id::text, 1) = '"' and octet_length(f.voice_id #>> '{}') <= 255 then f.voice_id #>> '{}' end,
    case when left(f.type::text, 1) = '"' and octet_length(f.type #>> '{}') <= 255 then f.type #>> '{}' end,
    case when left(f.mime_type::text, 1) = '"' and octet_length(f.mime_type #>> '{}') <= 255 then f.mime_type #>> '{}' end,
    case when left(f.step_name::text, 1) = '"' and octet_length(f.step_name #>> '{}') <= 255 then f.step_name #>> '{}' end,
    case when left(f.error_code::text, 1) = '"' and octet_length(f.error_code #>> '{}') <= 255 then f.error_code #>> '{}' end,
    case when left(f.niche_preset::text, 1) = '"' and octet_length(f.niche_preset #>> '{}') <= 255
      and f.niche_preset #>> '{}' in ('motivation', 'explainer', 'facts', 'history', 'finance', 'science') then f.niche_preset #>> '{}' end,
    case when left(f.transcript_mode::text, 1) = '"' and octet_length(f.transcript_mode #>> '{}') <= 255
      and f.transcript_mode #>> '{}' in ('auto', 'manual') then f.transcript_mode #>> '{}' end,
    case when left(f."to"::text, 1) = '"' and octet_length(f."to" #>> '{}') <= 255 then f."to" #>> '{}' end,
    case when left(f.avatar_url::text, 1) = '"' and octet_length(f.avatar_url #>> '{}') <= 65536 then f.avatar_url #>> '{}' end,
    case when left(f.note::text, 1) = '"' and octet_length(f.note #>> '{}') <= 65536 then f.note #>> '{}' end,
    case when left(f.audio_path::text, 1) = '"' and octet_length(f.audio_path #>> '{}') <= 65536 then f.audio_path #>> '{}' end,
    case when left(f.status_message::text, 1) = '"' and octet_length(f.status_message #>> '{}') <= 65536 then f.status_message #>> '{}' end,
    case when left(f.logs_url::text, 1) = '"' and octet_length(f.logs_url #>> '{}') <= 65536 then f.logs_url #>> '{}' end,
    case when left(f.url::text, 1) = '"' and octet_length(f.url #>> '{}') <= 65536 then f.url #>> '{}' end,
    case when left(f.storage_path::text, 1) = '"' and octet_length(f.storage_path #>> '{}') <= 65536 then f.storage_path #>> '{}' end,
    case when left(f.output_url::text, 1) = '"' and octet_length(f.output_url #>> '{}') <= 65536 then f.output_url #>> '{}' end,
    case when left(f.error_message::text, 1) = '"' and octet_length(f.error_message #>> '{}') <= 65536 then f.error_message #>> '{}' end,
    case when left(f.prompt_text::text, 1) = '"' and octet_length(f.prompt_text #>> '{}') <= 1048576 then f.prompt_text #>> '{}' end,
    case when left(f.transcript_text::text, 1) = '"' and octet_length(f.transcript_text #>> '{}') <= 1048576 then f.transcript_text #>> '{}' end,
    case when f.amount::text ~ '^-?(0|[1-9][0-9]*)$' then
      case when length(f.amount::text) <= 18 then f.amount::text::bigint else -1 end end,
    case when f.final_cost::text ~ '^-?(0|[1-9][0-9]*)$' then
      case when length(f.final_cost::text) <= 18 then f.final_cost::text::bigint else -1 end end,
    case when f.target_minutes::text ~ '^-?(0|[1-9][0-9]*)$' and length(f.target_minutes::text) <= 9
      then case when f.target_minutes::text::integer between 1 and 10 then f.target_minutes::text::integer end end,
    case when f.progress_pct::text ~ '^-?(0|[1-9][0-9]*)$' and length(f.progress_pct::text) <= 9
      then case when f.progress_pct::text::integer between 0 and 100 then f.progress_pct::text::integer end end,
    case when f.ttl::text ~ '^-?(0|[1-9][0-9]*)$' and length(f.ttl::text) <= 9
      then case when f.ttl::text::integer between 1 and 2592000 then f.ttl::text::integer end end,
    case when f.grace::text ~ '^-?(0|[1-9][0-9]*)$' and length(f.grace::text) <= 9
      then case when f.grace::text::integer between 1 and 2592000 then f.grace::text::integer end end,
    case when f.size_bytes::text ~ '^-?(0|[1-9][0-9]*)$' and length(f.size_bytes::text) <= 19
      then case when f.size_bytes::text::numeric between 0 and 9223372036854775807 then f.size_bytes::text::bigint end end,
    case when f.notification_prefs is not null then tally.read_json(f.notification_prefs) end,
    case when f.options is not null then tally.read_json(f.options) end,
    case when f.settings is not null then tally.read_json(f.settings) end,
    case when f.artifacts_json is not null then tally.read_json(f.artifacts_json) end,
    case when f.metadata_json is not null then tally.read_json(f.metadata_json) end,
    case when f.manifest_json is not null then tally.read_json(f.manifest_json) end
  )::tally.op;

  -- Is it an operation?
  if left(f.op::text, 1) = '"' and f.op_id::text ~* '^"[0-9a-f]{8}-[0-9a-f]{4}-[1-7][0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}"$' then
    select * into d from tally.operations p where p.name = f.op #>> '{}';
  end if;
  if d.name is null then
    return o;
  end if;
  if given_at is not null then
    if f.at is not null or 'at' = any (v_keys) then
      return o;
    end if;
    o.at := given_at;
  else
    v_at := f.at #>> '{}';
    if v_at is null or left(f.at::text, 1) <> '"' or left(v_at, 4) = '0000'
       or v_at !~ '^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]\.[0-9]{6}Z$' then
      return o;
    end if;
    if substr(v_at, 9, 2) > '28' and substr(v_at, 9, 2)::integer > extract(day from
         make_date(left(v_at, 4)::integer, substr(v_at, 6, 2)::integer, 1) + interval '1 month' - interval '1 day') then
      return o;
    end if;
    o.at := v_at::timestamptz;
  end if;
  o.op := d.name;
  o.op_id := (f.op_id #>> '{}')::uuid;
  o.in_batch := d.in_batch;
  o.has_user := 'user_id' = any (d.required) or 'user_id' = any (d.optional);
  o.has_job := 'job_id' = any (d.required);

  -- The fields by themselves: unknown, malformed, missing, out of range or list.
  v_bad := not v_keys <@ (d.required || d.optional || case when d.reservation
             then array['op', 'op_id', 'at', 'reservation'] else array['op', 'op_id', 'at'] end)
    or num_nonnulls(f.reservation, f.user_id, f.job_id, f.project_id, f.draft_id, f.voice_profile_id, f.asset_id, f.lease_id,
         f.email, f.display_name, f.stripe_customer_id, f.stripe_payment_id, f.session_token, f.template_id, f.title,
         f.name, f.provider, f.voice_id, f.type, f.mime_type, f.step_name, f.error_code, f.niche_preset,
         f.transcript_mode, f."to", f.avatar_url, f.note, f.audio_path, f.status_message, f.logs_url, f.url,
         f.storage_path, f.output_url, f.error_message, f.prompt_text, f.transcript_text, f.amount, f.final_cost,
         f.target_minutes, f.progress_pct, f.ttl, f.grace, f.size_bytes, f.notification_prefs, f.options, f.settings,
         f.artifacts_json, f.metadata_json, f.manifest_json)
       <> num_nonnulls(o.reservation, o.user_id, o.job_id, o.project_id, o.draft_id, o.voice_profile_id, o.asset_id, o.lease_id,
         o.email, o.display_name, o.stripe_customer_id, o.stripe_payment_id, o.session_token, o.template_id, o.title,
         o.name, o.provider, o.voice_id, o.type, o.mime_type, o.step_name, o.error_code, o.niche_preset,
         o.transcript_mode, o."to", o.avatar_url, o.note, o.audio_path, o.status_message, o.logs_url, o.url,
         o.storage_path, o.output_url, o.error_message, o.prompt_text, o.transcript_text, o.amount, o.final_cost,
         o.target_minutes, o.progress_pct, o.ttl, o.grace, o.size_bytes, o.notification_prefs, o.options, o.settings,
         o.artifacts_json, o.metadata_json, o.manifest_json);
  if not v_bad and nul is not null then
    v_bad := exists (
      select from (select distinct on (e.key) e.key, e.value from json_each(doc) with ordinality e(key, value, n)
                    order by e.key, e.n desc) last
       where strpos(last.value::text, nul) > 0
         and not (o.op = 'batch' and last.key = 'ops'));  -- Its operations are read one by one.
  end if;
  v_bad := v_bad or coalesce(case o.op
    when 'create_user' then o.user_id is null
    when 'update_profile' then o.user_id is null
    when 'add_credits' then o.user_id is null or o.amount is null or o.type is null or o.type = ''
    when 'expire_credits' then o.user_id is null or o.amount is null
    when 'create_draft' then o.draft_id is null or o.session_token is null or o.session_token = ''
                          or o.prompt_text is null or o.prompt_text = ''
    when 'update_draft' then o.draft_id is null or (o.session_token is null and o.user_id is null)
                          or o.prompt_text = ''
                          or ('prompt_text' = any (v_keys) and o.prompt_text is null)
    when 'claim_draft' then o.session_token is null or o.session_token = '' or o.user_id is null
    when 'create_project' then o.project_id is null or o.user_id is null or o.title is null or o.title = ''
                            or o.prompt_text is null or o.prompt_text = '' or o.niche_preset is null or o.target_minutes is null
    when 'update_project' then o.project_id is null or o.user_id is null or o.title = '' or o.prompt_text = ''
                            or ('title' = any (v_keys) and o.title is null)
                            or ('prompt_text' = any (v_keys) and o.prompt_text is null)
                            or ('niche_preset' = any (v_keys) and o.niche_preset is null)
                            or ('target_minutes' = any (v_keys) and o.target_minutes is null)
    when 'delete_project' then o.project_id is null or o.user_id is null
    when 'create_voice_profile' then o.voice_profile_id is null or o.user_id is null or o.name is null or o.name = ''
                                  or o.audio_path is null or o.audio_path = ''
    when 'delete_voice_profile' then o.voice_profile_id is null or o.user_id is null
    when 'create_job' then o.job_id is null or o.project_id is null or o.user_id is null
                        or substr(o.job_id::text, 15, 1) not between '1' and '7'
    when 'reserve_credits' then o.user_id is null or o.job_id is null or o.amount is null
    when 'advance_job' then o.job_id is null or o."to" is null
                         or o."to" not in ('PENDING', 'QUEUED', 'SCRIPTING', 'VOICE_GEN', 'ALIGNMENT', 'VISUAL_PLAN',
                                           'IMAGE_GEN', 'TIMELINE', 'RENDERING', 'PACKAGING', 'READY', 'FAILED')
    when 'report_progress' then o.job_id is null or o.step_name is null or o.step_name = '' or o.progress_pct is null
    when 'add_asset' then o.asset_id is null or o.job_id is null or o.type is null or o.url is null or o.url = ''
                       or o.storage_path is null or o.storage_path = ''
                       or o.type not in ('video', 'audio', 'image', 'captions', 'manifest', 'zip', 'thumbnail')
    when 'finalize_job_credits' then o.job_id is null or o.final_cost is null
    when 'release_job_credits' then o.job_id is null
    when 'complete_job' then o.job_id is null or o.final_cost is null
    when 'fail_job' then o.job_id is null or o.error_code is null or o.error_code = ''
    when 'retry_job' then o.job_id is null or o.amount is null
    when 'claim_job' then o.job_id is null or o.ttl is null
    when 'renew_claim' then o.job_id is null or o.ttl is null
    when 'drop_claim' then o.job_id is null
    when 'lease_credits' then o.lease_id is null or o.user_id is null or o.amount is null or o.ttl is null
    when 'return_lease' then o.lease_id is null
    when 'sweep' then o.grace is null
    when 'batch' then f.ops is null
    else false end, false);
  if v_bad then
    o.error := 'invalid_argument';
  elsif o.amount not between 1 and 2147483647 or o.final_cost not between 0 and 2147483647 then
    o.error := 'invalid_amount';
  elsif o.op = 'add_credits' and o.type not in ('purchase', 'grant', 'subscription', 'refund') then
    o.error := 'invalid_type';
  else
    if o.op = 'create_project' then
      o.transcript_mode := coalesce(o.transcript_mode, 'auto');
      o.settings := coalesce(o.settings, '{}');
    elsif o.op = 'create_voice_profile' then
      o.provider := coalesce(o.provider, 'custom');
      o.settings := coalesce(o.settings, '{}');
    elsif o.op = 'create_draft' then
      o.options := coalesce(o.options, '{}');
    elsif o.op = 'add_asset' then
      o.metadata_json := coalesce(o.metadata_json, '{}');
    elsif o.op in ('update_profile', 'update_draft', 'update_project') then
      o.given := array(select k from unnest(array['display_name', 'avatar_url', 'notification_prefs', 'stripe_customer_id',
                         'template_id', 'options', 'voice_profile_id', 'transcript_mode', 'transcript_text', 'settings']) k
                        where k = any (v_keys));
    end if;
    g := o;
    g.op_id := null;
    g.at := null;
    g.reservation := null;
    o.fingerprint := sha256(convert_to(g::text, 'UTF8'));
  end if;
  return o;
end;
$$;

-- Jobs as operations find them -------------------------------------------------------------------

-- Locks the job's row, because a plain UPDATE holds that before the account, and makes the state
-- of a job that was inserted plainly.
create or replace function tally.load_job(p_job_id uuid)
returns tally.job
language plpgsql
set search_path = ''
as $$
declare
  j tally.job;
  v_state uuid;
begin
  select b.id, b.project_id, b.user_id, b.status::text, b.cost_credits_final,
         coalesce(s.hold, 0), s.reservation, s.claim_until, coalesce(s.active_at, b.created_at), s.job_id
    into j.id, j.project_id, j.user_id, j.status, j.cost_credits_final,
         j.hold, j.reservation, j.claim_until, j.active_at, v_state
    from public.jobs b left join tally.job_state s on s.job_id = b.id
   where b.id = p_job_id
     for no key update of b;
  if j.id is not null and v_state is null then
    insert into tally.job_state (job_id, active_at) values (j.id, j.active_at) on conflict do nothing;
  end if;
  return j;
end;
$$;

create or replace function tally.is_stage(status text)
returns boolean
language sql
immutable
set search_path = ''
as $$
  select status in ('SCRIPTING', 'VOICE_GEN', 'ALIGNMENT', 'VISUAL_PLAN', 'IMAGE_GEN', 'TIMELINE', 'RENDERING', 'PACKAGING');
$$;

-- Users, profiles, credits -----------------------------------------------------------------------

create or replace function tally.op_create_user(o tally.op, a tally.accounts)
returns tally.outcome
language plpgsql
set search_path = ''
as $$
declare
  r tally.outcome;
begin
  r.account := a;
  r.result := 'user_exists';
  if a.user_id is not null then
    return r;
  end if;
  -- The account comes before the user: that tells the sign-up trigger to leave the rest to us.
  insert into tally.accounts (user_id) values (o.user_id) on conflict (user_id) do nothing returning * into a;
  if a.user_id is null then
    return r;
  end if;
  if not tally.insert_user(o.user_id, o.email,
       case when o.display_name is null then '{}' else jsonb_build_object('name', o.display_name) end, o.at) then
    delete from tally.accounts t where t.user_id = o.user_id;
    return r;
  end if;
  insert into public.profiles (id, display_name, created_at, updated_at)
  values (o.user_id, coalesce(o.display_name, 'User'), o.at, o.at);
  r.account := tally.append_entries(a, o.op_id, o.at, null, array['grant'], array[10], array['Welcome bonus: 10 trial credits']);
  r.result := 'ok';
  return r;
end;
$$;

create or replace function tally.op_update_profile(o tally.op, a tally.accounts)
returns tally.outcome
language plpgsql
set search_path = ''
as $$
declare
  r tally.outcome;
begin
  r.account := a;
  if a.user_id is null then
    r.result := 'user_not_found';
    return r;
  end if;
  update public.profiles p
     set display_name       = case when 'display_name' = any (o.given) then o.display_name else p.display_name end,
         avatar_url         = case when 'avatar_url' = any (o.given) then o.avatar_url else p.avatar_url end,
         notification_prefs = case when 'notification_prefs' = any (o.given) then o.notification_prefs else p.notification_prefs end,
         stripe_customer_id = case when 'stripe_customer_id' = any (o.given) then o.stripe_customer_id else p.stripe_customer_id end,
         updated_at         = o.at
   where p.id = o.user_id;
  r.result := 'ok';
  return r;
end;
$$;

-- add_credits and expire_credits: they differ in sign, type and in what can go wrong last.
create or replace function tally.op_change_credits(o tally.op, a tally.accounts)
returns tally.outcome
language plpgsql
set search_path = ''
as $$
declare
  r tally.outcome;
  p tally.payments;
  v_adds boolean := o.op = 'add_credits';
  v_type text := case when o.op = 'add_credits' then o.type else 'expire' end;
begin
  r.account := a;
  if a.user_id is null then
    r.result := 'user_not_found';
    return r;
  end if;
  if o.stripe_payment_id is not null then
    select * into p from tally.payments t where t.stripe_payment_id = o.stripe_payment_id;
    if found then
      r.result := case when p.operation = o.op and p.user_id = o.user_id and p.amount = o.amount and p.type = v_type
                       then 'ok' else 'payment_conflict' end;
      return r;
    end if;
  end if;
  if v_adds and a.balance + a.held + o.amount > 2147483647 then
    r.result := 'balance_overflow';
    return r;
  elsif not v_adds and a.balance < o.amount then
    r.result := 'insufficient_credits';
    return r;
  end if;
  if o.stripe_payment_id is not null then
    insert into tally.payments (stripe_payment_id, operation, user_id, amount, type)
    values (o.stripe_payment_id, o.op, o.user_id, o.amount, v_type)
    on conflict do nothing;
    if not found then
      -- Another call, of another user, has used it while this one waited here: it is seen now.
      return tally.op_change_credits(o, a);
    end if;
  end if;
  r.account := tally.append_entries(a, o.op_id, o.at, null, array[v_type],
    array[(case when v_adds then o.amount else -o.amount end)::integer], array[o.note], o.stripe_payment_id);
  r.result := 'ok';
  return r;
end;
$$;

-- Drafts -----------------------------------------------------------------------------------------

create or replace function tally.op_create_draft(o tally.op, a tally.accounts)
returns tally.outcome
language plpgsql
set search_path = ''
as $$
declare
  r tally.outcome;
begin
  r.account := a;
  if o.user_id is not null and a.user_id is null then
    r.result := 'user_not_found';
    return r;
  end if;
  insert into public.draft_prompts
    (id, session_token, user_id, prompt_text, template_id, options, created_at, updated_at, expires_at)
  values (o.draft_id, o.session_token, o.user_id, o.prompt_text, o.template_id, o.options, o.at, o.at,
          least(o.at + interval '168 hours', timestamptz '9999-12-31 23:59:59.999999Z'))
  on conflict (id) do nothing;
  r.result := case when found then 'ok' else 'already_exists' end;
  return r;
end;
$$;

create or replace function tally.op_update_draft(o tally.op, a tally.accounts)
returns tally.outcome
language plpgsql
set search_path = ''
as $$
declare
  r tally.outcome;
  d public.draft_prompts;
begin
  r.account := a;
  select * into d from public.draft_prompts t where t.id = o.draft_id for update;
  if not found then
    r.result := 'draft_not_found';
  elsif (d.user_id is not null and d.user_id is distinct from o.user_id)
     or (d.user_id is null and d.session_token is distinct from o.session_token) then
    r.result := 'not_owner';
  elsif d.user_id is null and d.expires_at <= o.at then
    r.result := 'draft_expired';
  else
    update public.draft_prompts t
       set prompt_text = coalesce(o.prompt_text, t.prompt_text),
           template_id = case when 'template_id' = any (o.given) then o.template_id else t.template_id end,
           options     = case when 'options' = any (o.given) then o.options else t.options end,
           updated_at  = o.at
     where t.id = o.draft_id;
    r.result := 'ok';
  end if;
  return r;
end;
$$;

create or replace function tally.op_claim_draft(o tally.op, a tally.accounts)
returns tally.outcome
language plpgsql
set search_path = ''
as $$
declare
  r tally.outcome;
begin
  r.account := a;
  if a.user_id is null then
    r.result := 'user_not_found';
    return r;
  end if;
  with claimed as (
    update public.draft_prompts t
       set user_id = o.user_id, updated_at = o.at
     where t.session_token = o.session_token and t.user_id is null and t.expires_at > o.at
    returning t.id, t.created_at)
  select c.id into r.id from claimed c order by c.created_at desc, c.id desc limit 1;
  r.result := case when found then 'ok' else 'draft_not_found' end;
  return r;
end;
$$;

create or replace function tally.op_purge_expired_drafts(o tally.op, a tally.accounts)
returns tally.outcome
language plpgsql
set search_path = ''
as $$
declare
  r tally.outcome;
begin
  delete from public.draft_prompts t where t.user_id is null and t.expires_at <= o.at;
  r.account := a;
  r.result := 'ok';
  return r;
end;
$$;

-- Projects and voice profiles --------------------------------------------------------------------

create or replace function tally.op_create_project(o tally.op, a tally.accounts)
returns tally.outcome
language plpgsql
set search_path = ''
as $$
declare
  r tally.outcome;
begin
  r.account := a;
  if a.user_id is null then
    r.result := 'user_not_found';
  elsif o.voice_profile_id is not null and not exists (
    select from public.voice_profiles v where v.id = o.voice_profile_id and v.user_id = o.user_id) then
    r.result := 'voice_profile_not_found';
  else
    insert into public.projects (id, user_id, title, prompt_text, niche_preset, target_minutes, voice_profile_id,
                                 transcript_mode, transcript_text, settings, created_at, updated_at)
    values (o.project_id, o.user_id, o.title, o.prompt_text, o.niche_preset, o.target_minutes, o.voice_profile_id,
            o.transcript_mode, o.transcript_text, o.settings, o.at, o.at)
    on conflict (id) do nothing;
    r.result := case when found then 'ok' else 'already_exists' end;
  end if;
  return r;
end;
$$;

create or replace function tally.op_update_project(o tally.op, a tally.accounts)
returns tally.outcome
language plpgsql
set search_path = ''
as $$
declare
  r tally.outcome;
  v_owner uuid;
begin
  r.account := a;
  select p.user_id into v_owner from public.projects p where p.id = o.project_id for update;
  if not found then
    r.result := 'project_not_found';
  elsif o.voice_profile_id is not null and not exists (
    select from public.voice_profiles v where v.id = o.voice_profile_id and v.user_id = o.user_id) then
    r.result := 'voice_profile_not_found';
  elsif v_owner <> o.user_id then
    r.result := 'not_owner';
  else
    update public.projects p
       set title            = coalesce(o.title, p.title),
           prompt_text      = coalesce(o.prompt_text, p.prompt_text),
           niche_preset     = coalesce(o.niche_preset, p.niche_preset),
           target_minutes   = coalesce(o.target_minutes, p.target_minutes),
           voice_profile_id = case when 'voice_profile_id' = any (o.given) then o.voice_profile_id else p.voice_profile_id end,
           transcript_mode  = case when 'transcript_mode' = any (o.given) then o.transcript_mode else p.transcript_mode end,
           transcript_text  = case when 'transcript_text' = any (o.given) then o.transcript_text else p.transcript_text end,
           settings         = case when 'settings' = any (o.given) then o.settings else p.settings end,
           updated_at       = o.at
     where p.id = o.project_id;
    r.result := 'ok';
  end if;
  return r;
end;
$$;

create or replace function tally.op_delete_project(o tally.op, a tally.accounts)
returns tally.outcome
language plpgsql
set search_path = ''
as $$
declare
  r tally.outcome;
  v_owner uuid;
begin
  r.account := a;
  select p.user_id into v_owner from public.projects p where p.id = o.project_id for update;
  if not found then
    r.result := 'project_not_found';
  elsif v_owner <> o.user_id then
    r.result := 'not_owner';
  elsif exists (select from public.jobs j join tally.job_state s on s.job_id = j.id
                 where j.project_id = o.project_id and s.hold > 0) then
    r.result := 'illegal_transition';
  else
    delete from public.projects p where p.id = o.project_id;
    r.result := 'ok';
  end if;
  return r;
end;
$$;

create or replace function tally.op_create_voice_profile(o tally.op, a tally.accounts)
returns tally.outcome
language plpgsql
set search_path = ''
as $$
declare
  r tally.outcome;
begin
  r.account := a;
  if a.user_id is null then
    r.result := 'user_not_found';
  else
    insert into public.voice_profiles (id, user_id, name, audio_path, provider, voice_id, settings, created_at)
    values (o.voice_profile_id, o.user_id, o.name, o.audio_path, o.provider, o.voice_id, o.settings, o.at)
    on conflict (id) do nothing;
    r.result := case when found then 'ok' else 'already_exists' end;
  end if;
  return r;
end;
$$;

create or replace function tally.op_delete_voice_profile(o tally.op, a tally.accounts)
returns tally.outcome
language plpgsql
set search_path = ''
as $$
declare
  r tally.outcome;
  v_owner uuid;
begin
  r.account := a;
  if a.user_id is null then
    r.result := 'user_not_found';
    return r;
  end if;
  select v.user_id into v_owner from public.voice_profiles v where v.id = o.voice_profile_id for update;
  if not found then
    r.result := 'voice_profile_not_found';
  elsif v_owner <> o.user_id then
    r.result := 'not_owner';
  else
    -- Before the foreign key does it, so that updated_at is the operation's.
    update public.projects p set voice_profile_id = null, updated_at = o.at
     where p.voice_profile_id = o.voice_profile_id;
    delete from public.voice_profiles v where v.id = o.voice_profile_id;
    r.result := 'ok';
  end if;
  return r;
end;
$$;

-- Jobs: author -----------------------------------------------------------------------------------

create or replace function tally.op_create_job(o tally.op, j tally.job, a tally.accounts)
returns tally.outcome
language plpgsql
set search_path = ''
as $$
declare
  r tally.outcome;
  v_owner uuid;
begin
  r.account := a;
  select p.user_id into v_owner from public.projects p where p.id = o.project_id;
  if not found then
    r.result := 'project_not_found';
  elsif j.id is not null then
    r.result := 'already_exists';
  elsif v_owner <> o.user_id then
    r.result := 'not_owner';
  else
    insert into public.jobs (id, project_id, user_id, created_at)
    values (o.job_id, o.project_id, o.user_id, o.at)
    on conflict (id) do nothing;
    if not found then
      r.result := 'already_exists';
      return r;
    end if;
    insert into tally.job_state (job_id, active_at) values (o.job_id, o.at);
    perform tally.make_steps(o.job_id);
    r.result := 'ok';
  end if;
  return r;
end;
$$;

create or replace function tally.op_reserve_credits(o tally.op, j tally.job, a tally.accounts)
returns tally.outcome
language plpgsql
set search_path = ''
as $$
declare
  r tally.outcome;
begin
  r.account := a;
  r.result := case
    when j.id is null then 'job_not_found'
    when j.user_id <> o.user_id then 'not_owner'
    when j.status <> 'PENDING' then 'illegal_transition'
    when j.hold > 0 then 'already_reserved'
    when a.balance < o.amount then 'insufficient_credits'
    else 'ok' end;
  if r.result = 'ok' then
    a := tally.append_entries(a, o.op_id, o.at, j.id, array['reserve'], array[-o.amount::integer], array['Reserved for job']);
    a.held := a.held + o.amount;
    r.account := a;
    update public.jobs b set cost_credits_reserved = o.amount, cost_credits_final = null where b.id = j.id;
    update tally.job_state s
       set hold = o.amount, reservation = o.op_id, active_at = greatest(s.active_at, o.at) where s.job_id = j.id;
  end if;
  return r;
end;
$$;

create or replace function tally.op_retry_job(o tally.op, j tally.job, a tally.accounts)
returns tally.outcome
language plpgsql
set search_path = ''
as $$
declare
  r tally.outcome;
begin
  r.account := a;
  r.result := case
    when j.id is null then 'job_not_found'
    when o.reservation is not null and o.reservation is distinct from j.reservation then 'stale_reservation'
    when j.status <> 'FAILED' then 'illegal_transition'
    when a.balance < o.amount then 'insufficient_credits'
    else 'ok' end;
  if r.result = 'ok' then
    a := tally.append_entries(a, o.op_id, o.at, j.id, array['reserve'], array[-o.amount::integer], array['Reserved for job']);
    -- A FAILED job has no hold; one that old data left is audit's to give back.
    a.held := a.held + o.amount - j.hold;
    r.account := a;
    update public.job_steps t
       set state = 'pending', progress_pct = 0, status_message = null, error_message = null, logs_url = null,
           artifacts_json = '{}', started_at = null, finished_at = null
     where t.job_id = j.id and t.state = 'failed';
    update public.jobs b
       set status = 'QUEUED', failed_step = null, error_code = null, error_message = null, status_message = null,
           finished_at = null, cost_credits_final = null, cost_credits_reserved = o.amount,
           progress = (select coalesce(sum(t.progress_pct), 0) / 8 from public.job_steps t where t.job_id = j.id)
     where b.id = j.id;
    update tally.job_state s
       set hold = o.amount, reservation = o.op_id, active_at = greatest(s.active_at, o.at) where s.job_id = j.id;
  end if;
  return r;
end;
$$;

-- Jobs: worker -----------------------------------------------------------------------------------

create or replace function tally.op_advance_job(o tally.op, j tally.job, a tally.accounts)
returns tally.outcome
language plpgsql
set search_path = ''
as $$
declare
  r tally.outcome;
  v_move text;
begin
  r.account := a;
  if j.id is null then
    r.result := 'job_not_found';
    return r;
  elsif o.reservation is not null and o.reservation is distinct from j.reservation then
    r.result := 'stale_reservation';
    return r;
  end if;
  select m.hold into v_move from tally.job_moves m
   where m.from_status = j.status and m.to_status = o."to" and m.by_operation = 'advance_job';
  r.result := case
    when v_move is null then 'illegal_transition'
    when v_move = 'needs' and j.hold = 0 then 'reservation_required'
    when v_move = 'settled' and (j.hold > 0 or j.cost_credits_final is null) then 'illegal_transition'
    when j.status = 'QUEUED' and o."to" is distinct from tally.first_stage(j.id) then 'illegal_transition'
    else 'ok' end;
  if r.result <> 'ok' then
    return r;
  end if;

  if o."to" = 'QUEUED' then
    update public.jobs b
       set status = 'QUEUED', status_message = coalesce(o.status_message, b.status_message) where b.id = j.id;
  else
    if j.status = 'QUEUED' and not exists (
      select from public.job_steps t where t.job_id = j.id and t.step_name = o."to") then
      perform tally.make_steps(j.id);
    end if;
    update public.jobs b
       set status = o."to"::public.job_status,
           progress = tally.move_steps(j.id, j.status, o."to", o.at),
           status_message = coalesce(o.status_message, b.status_message),
           started_at = case when o."to" = 'READY' then b.started_at else coalesce(b.started_at, o.at) end,
           finished_at = case when o."to" = 'READY' then o.at else b.finished_at end
     where b.id = j.id;
  end if;
  update tally.job_state s
     set active_at = greatest(s.active_at, o.at),
         claim_until = case when o."to" = 'READY' then null else s.claim_until end
   where s.job_id = j.id;
  return r;
end;
$$;

create or replace function tally.op_report_progress(o tally.op, j tally.job, a tally.accounts)
returns tally.outcome
language plpgsql
set search_path = ''
as $$
declare
  r tally.outcome;
  t public.job_steps;
begin
  r.account := a;
  if j.id is not null then
    select * into t from public.job_steps x where x.job_id = j.id and x.step_name = o.step_name;
  end if;
  r.result := case
    when j.id is null then 'job_not_found'
    when t.id is null then 'step_not_found'
    when o.reservation is not null and o.reservation is distinct from j.reservation then 'stale_reservation'
    when t.state is distinct from 'started' then 'illegal_transition'
    else 'ok' end;
  if r.result <> 'ok' then
    return r;
  end if;
  if coalesce(t.progress_pct, 0) >= o.progress_pct
     and (o.status_message is null or o.status_message is not distinct from t.status_message)
     and (o.logs_url is null or o.logs_url is not distinct from t.logs_url)
     and (o.artifacts_json is null or o.artifacts_json::text is not distinct from t.artifacts_json::text) then
    r.forget := true;
    return r;
  end if;
  update public.job_steps x
     set progress_pct   = greatest(x.progress_pct, o.progress_pct),
         status_message = coalesce(o.status_message, x.status_message),
         logs_url       = coalesce(o.logs_url, x.logs_url),
         artifacts_json = coalesce(o.artifacts_json, x.artifacts_json)
   where x.id = t.id;
  if o.progress_pct > coalesce(t.progress_pct, 0) then
    update public.jobs b
       set progress = (select sum(x.progress_pct) / 8 from public.job_steps x where x.job_id = j.id)
     where b.id = j.id;
  end if;
  update tally.job_state s set active_at = greatest(s.active_at, o.at) where s.job_id = j.id;
  return r;
end;
$$;

create or replace function tally.op_add_asset(o tally.op, j tally.job, a tally.accounts)
returns tally.outcome
language plpgsql
set search_path = ''
as $$
declare
  r tally.outcome;
begin
  r.account := a;
  r.result := case
    when j.id is null then 'job_not_found'
    when exists (select from public.assets x where x.id = o.asset_id) then 'already_exists'
    when o.reservation is not null and o.reservation is distinct from j.reservation then 'stale_reservation'
    else 'ok' end;
  if r.result = 'ok' then
    insert into public.assets (id, job_id, type, url, storage_path, size_bytes, mime_type, metadata_json, created_at)
    values (o.asset_id, j.id, o.type, o.url, o.storage_path, o.size_bytes, o.mime_type, o.metadata_json, o.at)
    on conflict (id) do nothing;
    if not found then
      r.result := 'already_exists';
      return r;
    end if;
    update tally.job_state s set active_at = greatest(s.active_at, o.at) where s.job_id = j.id;
  end if;
  return r;
end;
$$;

-- finalize_job_credits and complete_job, which is the same and READY.
create or replace function tally.op_finalize(o tally.op, j tally.job, a tally.accounts)
returns tally.outcome
language plpgsql
set search_path = ''
as $$
declare
  r tally.outcome;
  v_completes boolean := o.op = 'complete_job';
  v_final integer := o.final_cost;
begin
  r.account := a;
  r.result := case
    when j.id is null then 'job_not_found'
    when o.reservation is not null and o.reservation is distinct from j.reservation then 'stale_reservation'
    when v_completes and j.status <> 'PACKAGING' then 'illegal_transition'
    when j.hold = 0 and j.cost_credits_final is not null then 'already_finalized'
    when j.hold = 0 then 'no_reservation'
    when v_final > j.hold and a.balance < v_final - j.hold then 'insufficient_credits'
    else 'ok' end;
  if r.result <> 'ok' then
    return r;
  end if;
  if j.hold > v_final then
    a := tally.append_entries(a, o.op_id, o.at, j.id, array['reserve', 'usage', 'refund'],
      array[v_final, -v_final, j.hold - v_final],
      array['Reservation converted to usage', 'Video generation', 'Unused credits refund']);
  else
    a := tally.append_entries(a, o.op_id, o.at, j.id, array['reserve', 'usage'],
      array[j.hold, -v_final], array['Reservation converted to usage', 'Video generation']);
  end if;
  a.held := a.held - j.hold;
  r.account := a;
  if v_completes then
    update public.jobs b
       set cost_credits_final = v_final, status = 'READY', finished_at = o.at,
           progress = tally.move_steps(j.id, j.status, null, o.at),
           output_url = coalesce(o.output_url, b.output_url),
           manifest_json = coalesce(o.manifest_json, b.manifest_json)
     where b.id = j.id;
  else
    update public.jobs b set cost_credits_final = v_final where b.id = j.id;
  end if;
  update tally.job_state s
     set hold = 0, active_at = greatest(s.active_at, o.at),
         claim_until = case when v_completes then null else s.claim_until end
   where s.job_id = j.id;
  return r;
end;
$$;

create or replace function tally.op_release_job_credits(o tally.op, j tally.job, a tally.accounts)
returns tally.outcome
language plpgsql
set search_path = ''
as $$
declare
  r tally.outcome;
begin
  r.account := a;
  r.result := case
    when j.id is null then 'job_not_found'
    when o.reservation is not null and o.reservation is distinct from j.reservation then 'stale_reservation'
    when j.hold = 0 then 'no_reservation'
    else 'ok' end;
  if r.result = 'ok' then
    a := tally.append_entries(a, o.op_id, o.at, j.id, array['refund'], array[j.hold], array['Job failed - credits released']);
    a.held := a.held - j.hold;
    r.account := a;
    update tally.job_state s set hold = 0, active_at = greatest(s.active_at, o.at) where s.job_id = j.id;
  end if;
  return r;
end;
$$;

create or replace function tally.op_fail_job(o tally.op, j tally.job, a tally.accounts)
returns tally.outcome
language plpgsql
set search_path = ''
as $$
declare
  r tally.outcome;
  v_step text;
begin
  r.account := a;
  r.result := case
    when j.id is null then 'job_not_found'
    when o.reservation is not null and o.reservation is distinct from j.reservation then 'stale_reservation'
    when j.status in ('READY', 'FAILED') then 'illegal_transition'
    else 'ok' end;
  if r.result <> 'ok' then
    return r;
  end if;
  if j.hold > 0 then
    a := tally.append_entries(a, o.op_id, o.at, j.id, array['refund'], array[j.hold], array['Job failed - credits released']);
    a.held := a.held - j.hold;
    r.account := a;
  end if;
  if tally.is_stage(j.status) then
    update public.job_steps t
       set state = 'failed', finished_at = o.at, error_message = o.error_message
     where t.job_id = j.id and t.state = 'started'
    returning t.step_name into v_step;
  end if;
  update public.jobs b
     set status = 'FAILED', failed_step = v_step, error_code = o.error_code, error_message = o.error_message, finished_at = o.at
   where b.id = j.id;
  update tally.job_state s set hold = 0, claim_until = null, active_at = greatest(s.active_at, o.at)
   where s.job_id = j.id;
  return r;
end;
$$;

-- claim_job, renew_claim and drop_claim. A trace is one device, so a live claim is always its own.
create or replace function tally.op_claim(o tally.op, j tally.job, a tally.accounts)
returns tally.outcome
language plpgsql
set search_path = ''
as $$
declare
  r tally.outcome;
  v_live boolean := coalesce(o.at < j.claim_until, false);
begin
  r.account := a;
  r.result := case
    when j.id is null then 'job_not_found'
    when o.op = 'claim_job' and v_live then 'already_claimed'
    when o.op <> 'claim_job' and not v_live then 'not_claim_holder'
    when o.op = 'claim_job' and j.status <> 'QUEUED' and not tally.is_stage(j.status) then 'illegal_transition'
    else 'ok' end;
  if r.result = 'ok' then
    update tally.job_state s
       set claim_until = case when o.op = 'drop_claim' then null else o.at + o.ttl * interval '1 second' end,
           active_at = greatest(s.active_at, o.at)
     where s.job_id = j.id;
  end if;
  return r;
end;
$$;

-- One operation ----------------------------------------------------------------------------------

-- Applies one operation of user p_user (null: of none) to the account and job that the caller has
-- locked and read: seen before, then its fields, then the operation's own checks and writes.
create or replace function tally.apply_one(o tally.op, j tally.job, a tally.accounts, p_user uuid)
returns tally.outcome
language plpgsql
set search_path = ''
as $$
declare
  r tally.outcome;
  p tally.applied_operations;
begin
  r.account := a;
  if o.op in ('lease_credits', 'return_lease') then
    r.result := 'not_permitted';
    return r;
  end if;

  if p_user is null and o.has_job and o.job_id is not null and o.error is null then
    -- Its job does not exist, now: whoever it was of, it may have been applied before.
    select * into p from tally.applied_operations t
     where t.op_id = o.op_id and t.operation = o.op and t.fingerprint = o.fingerprint limit 1;
    if found then
      r.result := 'ok';
      r.id := p.id;
    else
      r.result := 'job_not_found';
    end if;
    return r;
  end if;
  select * into p from tally.applied_operations t where t.op_id = o.op_id and t.user_id is not distinct from p_user;
  if found then
    if p.operation = o.op and p.fingerprint = o.fingerprint then
      r.result := 'ok';
      r.id := p.id;
    else
      r.result := 'operation_conflict';
    end if;
    return r;
  end if;
  if o.error is not null then
    r.result := o.error;
    return r;
  end if;

  case o.op
    when 'report_progress' then r := tally.op_report_progress(o, j, a);
    when 'advance_job' then r := tally.op_advance_job(o, j, a);
    when 'reserve_credits' then r := tally.op_reserve_credits(o, j, a);
    when 'finalize_job_credits', 'complete_job' then r := tally.op_finalize(o, j, a);
    when 'release_job_credits' then r := tally.op_release_job_credits(o, j, a);
    when 'fail_job' then r := tally.op_fail_job(o, j, a);
    when 'retry_job' then r := tally.op_retry_job(o, j, a);
    when 'add_asset' then r := tally.op_add_asset(o, j, a);
    when 'claim_job', 'renew_claim', 'drop_claim' then r := tally.op_claim(o, j, a);
    when 'create_job' then r := tally.op_create_job(o, j, a);
    when 'add_credits', 'expire_credits' then r := tally.op_change_credits(o, a);
    when 'create_user' then r := tally.op_create_user(o, a);
    when 'update_profile' then r := tally.op_update_profile(o, a);
    when 'create_draft' then r := tally.op_create_draft(o, a);
    when 'update_draft' then r := tally.op_update_draft(o, a);
    when 'claim_draft' then r := tally.op_claim_draft(o, a);
    when 'purge_expired_drafts' then r := tally.op_purge_expired_drafts(o, a);
    when 'create_project' then r := tally.op_create_project(o, a);
    when 'update_project' then r := tally.op_update_project(o, a);
    when 'delete_project' then r := tally.op_delete_project(o, a);
    when 'create_voice_profile' then r := tally.op_create_voice_profile(o, a);
    when 'delete_voice_profile' then r := tally.op_delete_voice_profile(o, a);
  end case;

  if r.result = 'ok' and r.forget is not true then
    insert into tally.applied_operations (op_id, user_id, operation, fingerprint, id, at)
    values (o.op_id, p_user, o.op, o.fingerprint, r.id, o.at)
    on conflict do nothing;
  end if;
  return r;
end;
$$;

-- A batch: the whole of it or nothing. inner_ops are of one user, which the caller has seen to.
create or replace function tally.apply_batch(o tally.op, inner_ops tally.op[], a tally.accounts, p_user uuid)
returns tally.outcome
language plpgsql
set search_path = ''
as $$
declare
  r tally.outcome;
  x tally.outcome;
  b tally.op;
  j tally.job;
  p tally.applied_operations;
begin
  r.account := a;
  select * into p from tally.applied_operations t where t.op_id = o.op_id and t.user_id is not distinct from p_user;
  if found then
    r.result := case when p.operation = 'batch' and p.fingerprint = o.fingerprint then 'ok' else 'operation_conflict' end;
    return r;
  elsif o.error is not null then
    r.result := o.error;
    return r;
  end if;
  begin
    x.account := a;
    for n in 1 .. cardinality(inner_ops) loop
      b := inner_ops[n];
      j := null;
      if b.job_id is not null and b.has_job then
        j := tally.load_job(b.job_id);
      end if;
      if b.op_id = o.op_id then
        x.result := 'operation_conflict';
      else
        x := tally.apply_one(b, j, x.account, case when b.has_user and b.user_id is not null then b.user_id else j.user_id end);
      end if;
      if x.result <> 'ok' then
        r.result := x.result;
        r.index := n - 1;
        raise exception using errcode = 'TAB00', message = 'batch refused';
      end if;
    end loop;
    insert into tally.applied_operations (op_id, user_id, operation, fingerprint, at)
    values (o.op_id, p_user, 'batch', o.fingerprint, o.at);
    r.account := x.account;
    r.result := 'ok';
  exception when sqlstate 'TAB00' then
    null;
  end;
  return r;
end;
$$;

-- The ops of a batch, decoded. An element that is no operation has a null op.
create or replace function tally.decode_batch(ops json, nul text, given_at timestamptz)
returns tally.op[]
language plpgsql
set search_path = ''
as $$
declare
  v_ops tally.op[] := '{}';
  v_one json;
  v_none tally.op;
begin
  if json_typeof(ops) = 'array' then
    for v_one in select e from json_array_elements(ops) e limit 1001 loop
      if json_typeof(v_one) = 'object' then
        v_ops := v_ops || tally.decode(v_one, nul, given_at);
      else
        v_ops := v_ops || v_none;
      end if;
    end loop;
  end if;
  return v_ops;
end;
$$;

-- The user that a batch's ops are all of, or null for none; agree is false where they differ.
-- A job that an earlier op of the batch makes has that op's user; one that exists nowhere has no say.
create or replace function tally.batch_user(inner_ops tally.op[], out user_id uuid, out agree boolean)
language plpgsql
set search_path = ''
as $$
declare
  b tally.op;
  v_user uuid;
  v_any boolean := false;
begin
  agree := true;
  for n in 1 .. cardinality(inner_ops) loop
    b := inner_ops[n];
    continue when b.op is null;
    v_user := null;
    if b.has_user and b.user_id is not null then
      v_user := b.user_id;
    elsif b.has_job and b.job_id is not null then
      select t.user_id into v_user from public.jobs t where t.id = b.job_id;
      if not found then
        select e.user_id into v_user from unnest(inner_ops[:n - 1]) e
         where e.op = 'create_job' and e.job_id = b.job_id and e.user_id is not null limit 1;
        if not found then
          continue;
        end if;
      end if;
    end if;
    if v_any and v_user is distinct from user_id then
      agree := false;
      user_id := null;
      return;
    end if;
    user_id := v_user;
    v_any := true;
  end loop;
end;
$$;

-- The op_id of the fail_job by which a sweep fails a job: sweep XOR job, version 4, variant 10.
create or replace function tally.sweep_op_id(sweep uuid, job uuid)
returns uuid
language sql
immutable
set search_path = ''
as $$
  select overlay(overlay(h placing '4' from 13 for 1)
                 placing substr('89ab', (strpos('0123456789abcdef', substr(h, 17, 1)) - 1) % 4 + 1, 1) from 17 for 1)::uuid
    from (select string_agg(to_hex(get_byte(uuid_send(sweep), n) # get_byte(uuid_send(job), n) + 256), '' order by n) as hh
            from generate_series(0, 15) n) x,
         lateral (select regexp_replace(x.hh, '1(..)', '\1', 'g') as h) y;
$$;

-- The operations function ------------------------------------------------------------------------

-- Applies the lines of a trace in their order and answers each; no line is an error. One row a line:
-- op_id is null for a line that is no operation, index is that of a batch's failing op, line counts from 1.
-- The accounts of all users concerned are locked in id order before the first line is applied, kept
-- here, and written once at the end: an account that is updated once an operation grows a chain of
-- row versions that every later look-up walks.
create or replace function tally.apply_operations(operations text[])
returns table (op_id uuid, result text, balance integer, id uuid, index integer, line integer)
language plpgsql
security definer
set search_path = ''
as $$
#variable_conflict use_column
declare
  v_now timestamptz := clock_timestamp();
  v_doc json;
  v_nul text;
  v_ops tally.op[] := '{}';
  v_inner tally.op[] := '{}';
  v_batch tally.op[];
  v_users uuid[];
  v_accounts tally.accounts[];
  v_none tally.op;
  o tally.op;
  b tally.op;
  j tally.job;
  a tally.accounts;
  r tally.outcome;
  v_user uuid;
  v_agree boolean;
  v_at integer;
  v_swept uuid;
  v_lines integer := coalesce(cardinality(operations), 0);
  v_sweeps boolean := false;
begin
  -- Read every line.
  for n in 1 .. v_lines loop
    select p.doc, p.nul into v_doc, v_nul from tally.parse(operations[n]) p;
    if v_doc is null then
      v_ops[n] := v_none;
      continue;
    end if;
    o := tally.decode(v_doc, v_nul, null);
    if o.op is not null then
      o.at := least(o.at, v_now);
      v_sweeps := v_sweeps or o.op = 'sweep';
      if o.op = 'batch' then
        v_batch := tally.decode_batch(
          (json_populate_record(null::tally.line_fields, v_doc)).ops, v_nul, o.at);
        o.inner_first := cardinality(v_inner) + 1;
        o.inner_count := cardinality(v_batch);
        if o.inner_count not between 1 and 1000
           or exists (select from unnest(v_batch) x where x.op is null or not x.in_batch) then
          o.error := 'invalid_argument';
        end if;
        if o.error is null then
          o.fingerprint := sha256((select string_agg(
            uuid_send(x.op_id) || coalesce(x.fingerprint, '') || convert_to(coalesce(x.error, ''), 'UTF8'), '' order by x.n)
            from (select y.op_id, y.fingerprint, y.error, y.n
                    from unnest(v_batch) with ordinality as y(op, op_id, at, error, fingerprint, reservation, given, has_user, has_job, in_batch, inner_first, inner_count,
                         user_id, job_id, project_id, draft_id, voice_profile_id, asset_id, lease_id, email, display_name,
                         stripe_customer_id, stripe_payment_id, session_token, template_id, title, name, provider, voice_id, type,
                         mime_type, step_name, error_code, niche_preset, transcript_mode, "to", avatar_url, note, audio_path,
                         status_message, logs_url, url, storage_path, output_url, error_message, prompt_text, transcript_text, amount,
                         final_cost, target_minutes, progress_pct, ttl, grace, size_bytes, notification_prefs, options, settings,
                         artifacts_json, metadata_json, manifest_json, n)) x));
        end if;
        v_inner := v_inner || v_batch;
      end if;
    end if;
    v_ops[n] := o;
  end loop;

  -- Lock every user concerned: those named, the owners of jobs named, and those a sweep may touch.
  select coalesce(array_agg(l.user_id order by l.user_id), '{}'), coalesce(array_agg(l order by l.user_id), '{}')
    into v_users, v_accounts
    from tally.lock_accounts((
      select array_agg(u.user_id)
        from (select x.user_id from unnest(v_ops) x where x.user_id is not null
              union
              select x.user_id from unnest(v_inner) x where x.user_id is not null
              union
              select t.user_id from public.jobs t
               where t.id in (select x.job_id from unnest(v_ops) x union select x.job_id from unnest(v_inner) x)
              union
              select t.user_id from public.jobs t
               where v_sweeps and t.status in ('SCRIPTING', 'VOICE_GEN', 'ALIGNMENT', 'VISUAL_PLAN', 'IMAGE_GEN',
                                               'TIMELINE', 'RENDERING', 'PACKAGING')) u)) l;

  for n in 1 .. v_lines loop
    o := v_ops[n];
    if o.op is null then
      op_id := null;
      result := 'invalid_argument';
      balance := null;
      id := null;
      index := null;
      line := n;
      return next;
      continue;
    end if;

    -- The user, for I6 and for the account; the job, as it is now.
    j := null;
    v_agree := true;
    if o.op = 'batch' then
      v_batch := v_inner[o.inner_first : o.inner_first + o.inner_count - 1];
      select t.user_id, t.agree into v_user, v_agree from tally.batch_user(v_batch) t;
      if not v_agree then
        o.error := 'invalid_argument';
      end if;
    else
      if o.job_id is not null then
        j := tally.load_job(o.job_id);
      end if;
      v_user := case when o.has_user and o.user_id is not null then o.user_id when o.has_job then j.user_id end;
    end if;
    v_at := array_position(v_users, v_user);
    a := null;
    if v_at is not null then
      a := v_accounts[v_at];
    end if;

    if o.op = 'batch' then
      r := tally.apply_batch(o, v_batch, a, v_user);
    elsif o.op = 'sweep' then
      r := null;
      if exists (select from tally.applied_operations t where t.op_id = o.op_id and t.user_id is null) then
        r.result := case when exists (
          select from tally.applied_operations t where t.op_id = o.op_id and t.user_id is null
             and t.operation = 'sweep' and t.fingerprint = o.fingerprint) then 'ok' else 'operation_conflict' end;
      elsif o.error is not null then
        r.result := o.error;
      else
        for v_swept in
          select t.id from public.jobs t left join tally.job_state s on s.job_id = t.id
           where t.status in ('SCRIPTING', 'VOICE_GEN', 'ALIGNMENT', 'VISUAL_PLAN', 'IMAGE_GEN', 'TIMELINE', 'RENDERING', 'PACKAGING')
             and (s.claim_until is null or s.claim_until <= o.at)
             and o.at - greatest(coalesce(s.active_at, t.created_at), s.claim_until) >= o.grace * interval '1 second'
             and t.user_id = any (v_users)
           order by t.id
        loop
          j := tally.load_job(v_swept);
          v_at := array_position(v_users, j.user_id);
          b := tally.decode(json_build_object('op', 'fail_job', 'op_id', tally.sweep_op_id(o.op_id, v_swept),
                                              'job_id', v_swept, 'error_code', 'WORKER_LOST'), null, o.at);
          r := tally.apply_one(b, j, v_accounts[v_at], j.user_id);
          v_accounts[v_at] := r.account;
        end loop;
        insert into tally.applied_operations (op_id, user_id, operation, fingerprint, at)
        values (o.op_id, null, 'sweep', o.fingerprint, o.at)
        on conflict do nothing;
        r := null;
        r.result := 'ok';
      end if;
      v_at := null;
      j := null;
    else
      r := tally.apply_one(o, j, a, v_user);
    end if;

    if v_at is not null then
      v_accounts[v_at] := r.account;
    elsif (r.account).user_id is not null then
      v_users := v_users || (r.account).user_id;
      v_accounts := v_accounts || r.account;
    end if;

    -- The balance of the user whom the line names, else of its job's owner.
    if o.op = 'batch' then
      v_at := null;
      for k in o.inner_first .. o.inner_first + o.inner_count - 1 loop
        b := v_inner[k];
        v_at := array_position(v_users, b.user_id);
        if v_at is null and b.job_id is not null then
          v_at := array_position(v_users, (select t.user_id from public.jobs t where t.id = b.job_id));
        end if;
        exit when v_at is not null;
      end loop;
    else
      v_at := coalesce(array_position(v_users, o.user_id), array_position(v_users, j.user_id));
    end if;
    balance := null;
    if v_at is not null then
      a := v_accounts[v_at];
      balance := a.balance;
    end if;
    op_id := o.op_id;
    result := r.result;
    id := r.id;
    index := r.index;
    line := n;
    return next;
  end loop;

  update tally.accounts t
     set balance = x.balance, held = x.held, seq = x.seq
    from unnest(v_accounts) x
   where t.user_id = x.user_id
     and (t.balance, t.held, t.seq) is distinct from (x.balance, x.held, x.seq);
end;
$$;

-- The PRD's functions ----------------------------------------------------------------------------

-- One operation of canonical's own making: its op_id is new and its time is now().
create or replace function tally.apply_alone(fields json, out outcome tally.outcome, out job tally.job)
language plpgsql
set search_path = ''
as $$
declare
  o tally.op;
  a tally.accounts;
  v_user uuid;
begin
  o := tally.decode(fields, null, now());
  v_user := coalesce(o.user_id, (select t.user_id from public.jobs t where t.id = o.job_id));
  select * into a from tally.lock_accounts(array[v_user]);
  if o.job_id is not null then
    job := tally.load_job(o.job_id);
  end if;
  outcome := tally.apply_one(o, job, a, v_user);
  a := outcome.account;
  update tally.accounts t set balance = a.balance, held = a.held, seq = a.seq
   where t.user_id = a.user_id and (t.balance, t.held, t.seq) is distinct from (a.balance, a.held, a.seq);
end;
$$;

create or replace function public.reserve_credits(p_user_id uuid, p_job_id uuid, p_amount integer)
returns boolean
language plpgsql
security definer
set search_path = ''
as $$
declare
  r tally.outcome;
begin
  select (x.outcome).* into r from tally.apply_alone(json_build_object('op', 'reserve_credits', 'op_id', gen_random_uuid(),
    'user_id', p_user_id, 'job_id', p_job_id, 'amount', p_amount)) x;
  if r.result not in ('ok', 'insufficient_credits') then
    perform tally.refuse(r.result);
  end if;
  return r.result = 'ok';
end;
$$;

create or replace function public.finalize_job_credits(p_job_id uuid, p_final_cost integer)
returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
  v_result text;
  v_final integer;
begin
  select (x.outcome).result, (x.job).cost_credits_final into v_result, v_final
    from tally.apply_alone(json_build_object('op', 'finalize_job_credits', 'op_id', gen_random_uuid(),
      'job_id', p_job_id, 'final_cost', p_final_cost)) x;
  if v_result <> 'ok' and not (v_result = 'already_finalized' and v_final = p_final_cost) then
    perform tally.refuse(v_result);
  end if;
end;
$$;

create or replace function public.release_job_credits(p_job_id uuid)
returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
  v_result text;
begin
  select (x.outcome).result into v_result
    from tally.apply_alone(json_build_object('op', 'release_job_credits', 'op_id', gen_random_uuid(), 'job_id', p_job_id)) x;
  if v_result not in ('ok', 'no_reservation') then
    perform tally.refuse(v_result);
  end if;
end;
$$;

create or replace function public.claim_draft_prompt(p_session_token text, p_user_id uuid)
returns uuid
language plpgsql
security definer
set search_path = ''
as $$
declare
  r tally.outcome;
begin
  select (x.outcome).* into r from tally.apply_alone(json_build_object('op', 'claim_draft', 'op_id', gen_random_uuid(),
    'session_token', p_session_token, 'user_id', p_user_id)) x;
  if r.result not in ('ok', 'draft_not_found') then
    perform tally.refuse(r.result);
  end if;
  return r.id;
end;
$$;

create or replace function public.add_credits(
  p_user_id uuid, p_amount integer, p_type text, p_note text, p_stripe_payment_id text default null)
returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
  v_result text;
begin
  select (x.outcome).result into v_result
    from tally.apply_alone(json_build_object('op', 'add_credits', 'op_id', gen_random_uuid(), 'user_id', p_user_id,
      'amount', p_amount, 'type', p_type, 'note', p_note, 'stripe_payment_id', p_stripe_payment_id)) x;
  if v_result <> 'ok' then
    perform tally.refuse(v_result);
  end if;
end;
$$;

-- Rows and digest --------------------------------------------------------------------------------

create or replace function tally.time_text(t timestamptz)
returns text
language sql
stable
set search_path = ''
as $$
  select to_char(t at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"');
$$;

-- A user's rows of one of the PRD's tables, by primary key, every column as the mirror's view shows
-- it. The digest is made of these texts, so what is compared is what is hashed.
create or replace function tally.rows(table_name text, user_id uuid)
returns setof text[]
language plpgsql
stable
security definer
set search_path = ''
as $$
#variable_conflict use_column
declare
  v_user alias for user_id;
begin
  case table_name
    when 'profiles' then return query
      select array[t.id::text, t.display_name, t.avatar_url, tally.time_text(t.created_at), t.notification_prefs::text,
                   t.stripe_customer_id, tally.time_text(t.updated_at)]
        from public.profiles t where t.id = v_user order by t.id;
    when 'credit_ledger' then return query
      select array[t.id::text, t.user_id::text, t.type, t.amount::text, t.note, tally.time_text(t.created_at), t.job_id::text,
                   t.stripe_payment_id, t.balance_after::text, t.seq::text]
        from public.credit_ledger t where t.user_id = v_user order by t.id;
    when 'draft_prompts' then return query
      select array[t.id::text, t.session_token, t.user_id::text, t.prompt_text, t.template_id, t.options::text,
                   tally.time_text(t.created_at), tally.time_text(t.updated_at), tally.time_text(t.expires_at)]
        from public.draft_prompts t where t.user_id = v_user order by t.id;
    when 'projects' then return query
      select array[t.id::text, t.user_id::text, t.title, t.prompt_text, t.niche_preset, t.target_minutes::text,
                   t.voice_profile_id::text, t.transcript_mode, t.transcript_text, t.settings::text,
                   tally.time_text(t.created_at), tally.time_text(t.updated_at)]
        from public.projects t where t.user_id = v_user order by t.id;
    when 'jobs' then return query
      select array[t.id::text, t.project_id::text, t.user_id::text, t.status::text, t.progress::text, t.status_message,
                   t.cost_credits_reserved::text, t.cost_credits_final::text, t.failed_step, t.error_code, t.error_message,
                   t.output_url, t.manifest_json::text, tally.time_text(t.created_at), tally.time_text(t.started_at),
                   tally.time_text(t.finished_at)]
        from public.jobs t where t.user_id = v_user order by t.id;
    when 'job_steps' then return query
      select array[t.id::text, t.job_id::text, t.step_name, t.step_order::text, t.state::text, t.progress_pct::text,
                   t.status_message, t.error_message, t.logs_url, t.artifacts_json::text,
                   tally.time_text(t.started_at), tally.time_text(t.finished_at)]
        from public.job_steps t join public.jobs j on j.id = t.job_id where j.user_id = v_user order by t.id;
    when 'assets' then return query
      select array[t.id::text, t.job_id::text, t.type, t.url, t.storage_path, t.size_bytes::text, t.mime_type,
                   t.metadata_json::text, tally.time_text(t.created_at)]
        from public.assets t join public.jobs j on j.id = t.job_id where j.user_id = v_user order by t.id;
    when 'voice_profiles' then return query
      select array[t.id::text, t.user_id::text, t.name, t.audio_path, t.provider, t.voice_id, t.settings::text,
                   tally.time_text(t.created_at)]
        from public.voice_profiles t where t.user_id = v_user order by t.id;
    else
      perform tally.refuse('invalid_argument');
  end case;
end;
$$;

-- Per table the sum, modulo 2^64, of the first eight bytes (big-endian) of SHA-256 over each row.
create or replace function tally.digest(user_id uuid)
returns table (table_name text, rows bigint, digest numeric)
language sql
stable
security definer
set search_path = ''
as $$
  select n.name, count(h.hash),
         coalesce(sum(get_byte(h.hash, 0) * 72057594037927936::numeric + get_byte(h.hash, 1) * 281474976710656
                    + get_byte(h.hash, 2) * 1099511627776 + get_byte(h.hash, 3) * 4294967296
                    + get_byte(h.hash, 4) * 16777216::bigint + get_byte(h.hash, 5) * 65536
                    + get_byte(h.hash, 6) * 256 + get_byte(h.hash, 7)), 0) % 18446744073709551616
    from unnest(array['profiles', 'credit_ledger', 'draft_prompts', 'projects', 'jobs', 'job_steps', 'assets', 'voice_profiles'])
         with ordinality n(name, place)
    left join lateral (
      select sha256(convert_to(n.name || (
               select string_agg(coalesce(octet_length(c.text) || ':' || c.text, '-'), '' order by c.place)
                 from unnest(r.texts) with ordinality c(text, place)), 'UTF8')) as hash
        from tally.rows(n.name, $1) as r(texts)) h on true
   group by n.name, n.place
   order by n.place;
$$;

-- Owners and grants ------------------------------------------------------------------------------

do $$
declare
  f record;
begin
  for f in
    select p.oid::regprocedure as name, p.proname from pg_proc p
     where (p.pronamespace = 'tally'::regnamespace and p.proname not in ('known_users', 'insert_user'))
        or p.oid in ('public.reserve_credits(uuid,uuid,integer)'::regprocedure,
                     'public.finalize_job_credits(uuid,integer)'::regprocedure,
                     'public.release_job_credits(uuid)'::regprocedure,
                     'public.claim_draft_prompt(text,uuid)'::regprocedure,
                     'public.add_credits(uuid,integer,text,text,text)'::regprocedure)
  loop
    execute format('alter function %s owner to tally_owner', f.name);
  end loop;
end;
$$;

revoke execute on all functions in schema tally from public;

-- Who replays traces and compares rows: the migration role, and the service role.
grant usage on schema tally to service_role;
grant select on tally.operations, tally.job_moves, tally.codes to current_user, service_role;
grant execute on function tally.apply_operations(text[]), tally.rows(text, uuid), tally.digest(uuid)
  to current_user, service_role;

revoke create on schema public, tally from tally_owner;
revoke tally_owner from current_user;
