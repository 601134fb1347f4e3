-- Migration: 20260201000005_audit.sql
-- What the PRD's original functions minted or charged twice, found, explained and corrected. Re-runnable.

set local lock_timeout = '10s';
set local search_path = pg_catalog;
