-- Migration: 20260201000003_security.sql
-- Who may do what: row-level security on every table, policies by role and command, grants spelled
-- out. Re-runnable.

set local lock_timeout = '10s';
set local search_path = pg_catalog;
