-- What every file starts with, inside its transaction. pgTAP is in a schema of its own, so that what
-- is in public is the product's alone.
set local client_min_messages = warning;
create schema if not exists tap;
create extension if not exists pgtap schema tap;
create extension if not exists plpgsql_check schema tap;
set local search_path = public, tap;
