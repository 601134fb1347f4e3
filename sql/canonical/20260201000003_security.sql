-- Migration: 20260201000003_security.sql
-- Who may do what. Row-level security on every table, one policy a role and command, and every grant
-- spelled out, so that the result is the same whatever a project's default privileges were. Re-runnable.
--
--   anon           drafts: inserts them for nobody, reads and updates unclaimed ones by session token
--   authenticated  own rows only: reads all of the PRD's tables; writes profile (name, picture,
--                  preferences), drafts, projects and voice profiles; get_credit_balance and
--                  claim_draft_prompt for oneself
--   service_role   all rows; of the ledger it only inserts; every function of the PRD
--   tally_owner    what our functions do (its policies are in the integrity migration)
--
-- No function that runs with its owner's rights can be executed by anon or authenticated.

set local lock_timeout = '10s';
set local search_path = pg_catalog;

-- For this transaction only, as in the integrity migration.
grant tally_owner to current_user;

-- Nobody has anything that is not granted below -------------------------------------------------

do $$
declare
  t text;
  f regprocedure;
begin
  foreach t in array array['profiles', 'credit_ledger', 'draft_prompts', 'projects', 'jobs', 'job_steps', 'assets',
                           'voice_profiles'] loop
    execute format('revoke all on public.%I from public, anon, authenticated, service_role', t);
    execute format('alter table public.%I enable row level security', t);
  end loop;
  foreach f in array array[
    'public.get_credit_balance(uuid)', 'public.reserve_credits(uuid,uuid,integer)',
    'public.finalize_job_credits(uuid,integer)', 'public.release_job_credits(uuid)',
    'public.claim_draft_prompt(text,uuid)', 'public.add_credits(uuid,integer,text,text,text)',
    'public.handle_new_user()', 'public.update_updated_at()']::regprocedure[] loop
    execute format('revoke all on function %s from public, anon, authenticated, service_role', f);
  end loop;
  -- Our own tables: their owner is not subject to row-level security, and nobody else has business there.
  foreach t in array array['accounts', 'job_state', 'payments', 'applied_operations', 'codes', 'operations', 'fields',
                           'job_moves'] loop
    execute format('alter table tally.%I enable row level security', t);
  end loop;
end;
$$;

-- The contract's tables are no secret, to those who may read them.
drop policy if exists reading on tally.codes;
create policy reading on tally.codes for select using (true);
drop policy if exists reading on tally.operations;
create policy reading on tally.operations for select using (true);
drop policy if exists reading on tally.fields;
create policy reading on tally.fields for select using (true);
drop policy if exists reading on tally.job_moves;
create policy reading on tally.job_moves for select using (true);

-- Tables ----------------------------------------------------------------------------------------

-- Before PostgreSQL 15 everybody could make things there, in the way of others.
revoke create on schema public from public, anon, authenticated, service_role;
grant usage on schema public to anon, authenticated, service_role;

grant select, insert, update, delete on public.profiles, public.draft_prompts, public.projects, public.jobs,
  public.job_steps, public.assets, public.voice_profiles to service_role;
grant select, insert on public.credit_ledger to service_role;

grant select on public.profiles to authenticated;
grant update (display_name, avatar_url, notification_prefs) on public.profiles to authenticated;
drop policy if exists profiles_select on public.profiles;
create policy profiles_select on public.profiles for select to authenticated
  using (id = (select auth.uid()));
drop policy if exists profiles_update on public.profiles;
create policy profiles_update on public.profiles for update to authenticated
  using (id = (select auth.uid())) with check (id = (select auth.uid()));

grant select on public.credit_ledger to authenticated;
drop policy if exists credit_ledger_select on public.credit_ledger;
create policy credit_ledger_select on public.credit_ledger for select to authenticated
  using (user_id = (select auth.uid()));

-- A session token proves nothing once a draft is claimed, and an empty one never.
grant select, insert, update on public.draft_prompts to anon, authenticated;
drop policy if exists draft_insert on public.draft_prompts;
create policy draft_insert on public.draft_prompts for insert to anon, authenticated
  with check (user_id is null or user_id = (select auth.uid()));
drop policy if exists draft_select on public.draft_prompts;
create policy draft_select on public.draft_prompts for select to anon, authenticated
  using (user_id = (select auth.uid())
         or (user_id is null and session_token = (select nullif(current_setting('app.session_token', true), ''))));
drop policy if exists draft_update on public.draft_prompts;
create policy draft_update on public.draft_prompts for update to anon, authenticated
  using (user_id = (select auth.uid())
         or (user_id is null and session_token = (select nullif(current_setting('app.session_token', true), ''))))
  with check (user_id = (select auth.uid())
         or (user_id is null and session_token = (select nullif(current_setting('app.session_token', true), ''))));

grant select, insert, update, delete on public.projects, public.voice_profiles to authenticated;
drop policy if exists projects_all on public.projects;
create policy projects_all on public.projects to authenticated
  using (user_id = (select auth.uid())) with check (user_id = (select auth.uid()));
drop policy if exists voice_profiles_all on public.voice_profiles;
create policy voice_profiles_all on public.voice_profiles to authenticated
  using (user_id = (select auth.uid())) with check (user_id = (select auth.uid()));

grant select on public.jobs, public.job_steps, public.assets to authenticated;
drop policy if exists jobs_select on public.jobs;
create policy jobs_select on public.jobs for select to authenticated
  using (user_id = (select auth.uid()));
drop policy if exists jobs_service_update on public.jobs;
create policy jobs_service_update on public.jobs for update to service_role
  using (true);
drop policy if exists job_steps_select on public.job_steps;
create policy job_steps_select on public.job_steps for select to authenticated
  using (exists (select from public.jobs j where j.id = job_id and j.user_id = (select auth.uid())));
drop policy if exists assets_select on public.assets;
create policy assets_select on public.assets for select to authenticated
  using (exists (select from public.jobs j where j.id = job_id and j.user_id = (select auth.uid())));

-- Functions -------------------------------------------------------------------------------------

-- These two a signed-in user may call, for oneself, so they run with the caller's own rights: what
-- the policies above let through is all that they can see or change.

-- In constant time: the latest entry has the balance.
create or replace function public.get_credit_balance(p_user_id uuid)
returns integer
language plpgsql
stable
security invoker
set search_path = ''
as $$
begin
  if row_security_active('public.credit_ledger') and p_user_id is distinct from auth.uid() then
    raise exception using errcode = 'TA001', message = 'not_permitted', detail = 'The balance is another user''s.';
  end if;
  return coalesce((select l.balance_after from public.credit_ledger l
                    where l.user_id = p_user_id and l.seq is not null
                    order by l.seq desc limit 1), 0);
end;
$$;

-- The operation claim_draft: a draft is no credit, so nothing of the account is locked. The token, as a
-- setting, is what the policies ask for; when the function returns it is what it was.
create or replace function public.claim_draft_prompt(p_session_token text, p_user_id uuid)
returns uuid
language plpgsql
security invoker
set search_path = ''
as $$
declare
  v_draft uuid;
  v_token text := coalesce(current_setting('app.session_token', true), '');
begin
  if p_user_id is null or coalesce(octet_length(p_session_token), 0) not between 1 and 255 then
    raise exception using errcode = 'TA003', message = 'invalid_argument',
      detail = 'A session token of 1 to 255 bytes and a user are needed.';
  elsif row_security_active('public.draft_prompts') and p_user_id is distinct from auth.uid() then
    raise exception using errcode = 'TA001', message = 'not_permitted', detail = 'A draft is claimed for oneself.';
  end if;
  perform set_config('app.session_token', p_session_token, true);
  with
  claimable as (
    select d.id from public.draft_prompts d
     where d.session_token = p_session_token and d.user_id is null and d.expires_at > now()
     order by d.id for no key update),
  claimed as (
    update public.draft_prompts d set user_id = p_user_id
      from claimable c
     where d.id = c.id
    returning d.id, d.created_at)
  select c.id into v_draft from claimed c order by c.created_at desc, c.id desc limit 1;
  perform set_config('app.session_token', v_token, true);
  return v_draft;
exception
  when foreign_key_violation then
    raise exception using errcode = 'TA010', message = 'user_not_found', detail = 'No such user is known here.';
end;
$$;

alter function public.get_credit_balance(uuid) owner to current_user;
alter function public.claim_draft_prompt(text, uuid) owner to current_user;
grant execute on function public.get_credit_balance(uuid), public.claim_draft_prompt(text, uuid)
  to authenticated, service_role;
grant execute on function public.reserve_credits(uuid, uuid, integer), public.finalize_job_credits(uuid, integer),
  public.release_job_credits(uuid), public.add_credits(uuid, integer, text, text, text)
  to service_role;

-- Who replays traces and compares rows.
grant usage on schema tally to service_role;
grant select on tally.operations, tally.fields, tally.job_moves, tally.codes to service_role;
grant execute on function tally.apply_operations(text[]), tally.rows(text, uuid), tally.digest(uuid)
  to service_role;

revoke tally_owner from current_user;
