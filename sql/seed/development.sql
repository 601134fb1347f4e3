-- What a developer starts with (the PRD's section 15). Make the user test@example.com first, with the
-- dashboard or by an INSERT into auth.users. Run it as often as you like: it is there once.

insert into public.credit_ledger (user_id, type, amount, note)
select u.id, 'grant', 100, 'Development credits'
  from auth.users u
 where u.email = 'test@example.com'
   and not exists (select from public.credit_ledger l where l.user_id = u.id and l.note = 'Development credits');

insert into public.draft_prompts (session_token, prompt_text)
select 'test-session-123', 'Create a motivational video about never giving up'
 where not exists (select from public.draft_prompts d where d.session_token = 'test-session-123');
