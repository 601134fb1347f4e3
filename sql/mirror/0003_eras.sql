-- The mirror, version 3: making a job costs the same, however many there are.

-- An index by project alone takes a new job anywhere, on a page that is no longer in memory. By era, of 65,536
-- jobs each, and then project, what is being written stays small, and a project's jobs are one look an era.
drop index tally_job_project;
create index tally_job_project on tally_job (j >> 16, p);

-- Without an index by project alone, SQLite would look through all jobs for those of a deleted project. The
-- operations keep the reference themselves: a job is made in a project that is there, and goes with it.
pragma writable_schema = on;
update sqlite_schema
set sql = replace(sql, 'p integer not null references tally_project deferrable initially deferred', 'p integer not null')
where type = 'table' and name = 'tally_job';
pragma writable_schema = reset;
