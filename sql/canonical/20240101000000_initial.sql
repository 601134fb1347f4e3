-- Migration: 20240101000000_initial.sql
-- What Supabase provides and the following files need. On plain Postgres shim/auth.sql
-- provides it; this file only says clearly when neither has been there.

DO $$
BEGIN
  IF to_regclass('auth.users') IS NULL OR to_regprocedure('auth.uid()') IS NULL THEN
    RAISE EXCEPTION 'auth.users and auth.uid() are missing: apply shim/auth.sql first (plain Postgres)';
  END IF;
END;
$$;
