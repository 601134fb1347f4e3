-- The mirror, version 4: opening a hold costs the same, however many users have one.

-- An index by user alone takes a new hold anywhere, and writes a page for each. By era, of 1,024 jobs each, and
-- then user, the holds of jobs made one behind the other share pages, and a user's are one look in each era that
-- has open ones.
drop index tally_job_hold;
create index tally_job_hold on tally_job (j >> 10, u) where hold > 0;
