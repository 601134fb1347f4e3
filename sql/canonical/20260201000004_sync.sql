-- Migration: 20260201000004_sync.sql
-- What canonical knows of devices. Re-runnable.

set local lock_timeout = '10s';
set local search_path = pg_catalog;
