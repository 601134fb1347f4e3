-- Migration: 20260201000003_security.sql
-- Who may do what. Row-level security on every table, one policy a role and command, and every grant
-- spelled out, so that the result is the same whatever a project's default privileges were. Re-runnable.
--
--   anon           drafts: inserts them for nobody, reads and updates unclaimed ones by session token
--   authenticated  own rows only: reads all of the PRD's tables; writes profile (name, picture,
--                  preferences), drafts, projects and voice profiles; get_credit_balance and
--                  claim_draft_prompt for oneself
--   service_role   all rows; of the ledger it only inserts, profiles it does not delete; every function
--                  of the PRD
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
  foreach t in array array['accounts', 'job_state', 'payments', 'applied_operations', 'old_jobs', 'old_strays', 'codes',
                           'operations', 'fields', 'job_moves'] loop
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

-- A profile lives as long as its user, and users are not deleted.
grant select, insert, update, delete on public.draft_prompts, public.projects, public.jobs, public.job_steps,
  public.assets, public.voice_profiles to service_role;
grant select, insert, update on public.profiles to service_role;
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
         or (user_id is null and session_token = nullif((select current_setting('app.session_token', true)), '')));
drop policy if exists draft_update on public.draft_prompts;
create policy draft_update on public.draft_prompts for update to anon, authenticated
  using (user_id = (select auth.uid())
         or (user_id is null and session_token = nullif((select current_setting('app.session_token', true)), '')))
  with check (user_id = (select auth.uid())
         or (user_id is null and session_token = nullif((select current_setting('app.session_token', true)), '')));

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

-- These two a signed-in user may call, for oneself: they run with the caller's own rights.
grant execute on function public.get_credit_balance(uuid), public.claim_draft_prompt(text, uuid)
  to authenticated, service_role;
grant execute on function public.reserve_credits(uuid, uuid, integer), public.finalize_job_credits(uuid, integer),
  public.release_job_credits(uuid), public.add_credits(uuid, integer, text, text, text)
  to service_role;

-- Who replays traces and compares rows.
grant usage on schema tally to service_role;
grant select on tally.operations, tally.fields, tally.job_moves, tally.codes to service_role;
grant execute on function tally.apply_operations(text[]), tally.rows(text, uuid), tally.digest(uuid), tally.is_user(uuid)
  to service_role;

revoke tally_owner from current_user;
