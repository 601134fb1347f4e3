"""Mutants of canonical's functions: each is a function put in the place of the right one, in a database of its own."""

import contextlib
import hashlib
import itertools
import re
import subprocess
import sys
from pathlib import Path

from variants import swapped

FUNCTIONS = {
    "sql/canonical/20260201000001_integrity.sql": [
        "append_entries", "entry_insert", "entries_inserted", "entry_change", "fail_step", "job_insert", "job_update",
        "job_delete"],
    "sql/canonical/20260201000002_operations.sql": [
        "op_create_user", "op_change_credits", "draw", "short_of_credits", "give_back", "open_hold", "op_reserve_credits", "op_retry_job",
        "op_advance_job", "op_finalize", "release_hold", "op_release_job_credits", "op_fail_job", "op_claim",
        "op_lease_credits", "op_return_lease", "late_refusal", "seen_before", "write_accounts"],
    "sql/canonical/20260201000004_sync.sql": ["close_lease", "reclaim", "write_off"],
}
CODES = [f"'{code}'" for code in (
    "ok", "insufficient_credits", "not_owner", "illegal_transition", "already_reserved", "no_reservation",
    "already_finalized", "not_permitted", "job_not_found", "user_not_found", "payment_conflict", "balance_overflow",
    "lease_not_found", "already_exists", "lease_reclaimed")]


class SqlMutant:
    def __init__(self, file, function, line, before, after, text):
        self.file, self.line, self.before, self.after, self.text = file, line, before, after, text
        flat = lambda part: re.sub(r"\s+", " ", part).strip()
        self.name = f"{file} {function}: {flat(before)} => {flat(after) or '(dropped)'}"


def mutants(root):
    found = []
    for file, names in FUNCTIONS.items():
        source = (root / file).read_text()
        for name in names:
            match = re.search(rf"^create or replace function \w+\.{name}\(.*?^\$\$;\n", source, re.M | re.S)
            text = match.group()
            start = text.index("\nbegin\n") + 7 if "\nbegin\n" in text else text.index("as $$\n") + 6
            first = source.count("\n", 0, match.start()) + 1
            at = start
            for line in text[start:text.rindex("end;")].split("\n"):
                for after in line_variants(line):
                    found.append(SqlMutant(file, name, first + text.count("\n", 0, at), line, after,
                                           text[:at] + after + text[at + len(line):]))
                at += len(line) + 1
    return found


def line_variants(line):
    if line.strip().startswith("--"):
        return []
    texts = swapped(line, [CODES])
    texts += [re.sub(r" = ", " <> ", line, count=1)] if " = " in line and " set " not in line else []
    check = re.match(r"( *(?:els)?if ).* then$", line)
    if check:
        texts.append(check.group(1) + "false then")
    if re.match(r" *(perform .*|[\w.]+ := .*);$", line):
        texts.append("")
    return [text for text in dict.fromkeys(texts) if text != line]


class Canonical:
    """A database with the migrations, and copies of it to break. What it answers to a trace and to pgTAP's tests
    is compared with what the right one answers."""

    def __init__(self, root, trace):
        sys.path.insert(0, str(root / "tests/support"))
        from postgres import Postgres
        self.root, self.server, self.numbers = root, Postgres(), itertools.count()
        try:
            self.make(trace)
        except BaseException:
            self.close()
            raise

    def make(self, trace):
        self.psql_path = str(self.server.binaries() / "psql")
        self.server.sql("create database whole template template0 encoding 'UTF8'")
        for file in [self.root / "sql/shim/auth.sql", *sorted(self.root.glob("sql/canonical/*.sql"))]:
            done = self.psql("whole", "-1", "-f", str(file))
            if done.returncode != 0:
                raise RuntimeError(done.stderr)
        # As COPY wants them.
        self.lines = trace.read_bytes().decode().replace("\\", r"\\").replace("\r", r"\r").replace("\t", r"\t")
        with self.copy() as database:
            self.expected = {step: self.answer(database, step) for step in self.steps}
        for step, (status, answer) in self.expected.items():
            if status != 0 or (step != "trace" and answer):
                raise RuntimeError(f"{step} fails without a mutant: {answer}")
        if self.verdict(None) is not None:
            raise RuntimeError("the same functions do not answer the same twice")

    # The last one leaves rows behind, with ids of its own.
    steps = ["operations.sql", "leases.sql", "claims.sql", "bounds.sql", "changes.sql", "plain_writers.sql", "app_triggers.sql", "trace", "two_calls.sql"]

    def close(self):
        self.server.close()

    def psql(self, database, *arguments, text=None):
        return subprocess.run([self.psql_path, "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d",
                               self.server.conninfo(database), *arguments], input=text, capture_output=True, text=True, timeout=180)

    def answer(self, database, step):
        if step != "trace":
            done = self.psql(database, "-f", str(self.root / "sql/tests" / step))
            failed = re.findall(r"^(?:not ok|# Looks like).*", done.stdout, re.M)
            return (done.returncode, failed)
        script = f"""
          create temp table lines (n serial, line text);
          copy lines (line) from stdin;
{self.lines}\\.
          select a.* from generate_series(0, (select max(n) / 200 from lines)) k,
            lateral tally.apply_operations(array(select line from lines where n / 200 = k order by n)) a;
          select l.* from public.credit_ledger l order by user_id, seq;
          select * from public.jobs order by id;
          select * from public.job_steps order by job_id, step_order;
          select user_id, kind, row_id, gone from tally_sync.changes order by user_id, kind, row_id;
          select * from tally.accounts order by user_id;
          select user_id, job_id, hold, reservation, lease, claim_until from tally.job_state order by job_id;
          select stripe_payment_id, operation, user_id, amount, type from tally.payments order by 1;"""
        done = self.psql(database, text=script)
        return (done.returncode, hashlib.sha256(done.stdout.encode()).hexdigest())

    @contextlib.contextmanager
    def copy(self):
        name = f"copy_{next(self.numbers)}"
        self.server.sql(f"create database {name} template whole")
        try:
            yield name
        finally:
            self.server.sql(f"drop database {name} with (force)")

    def verdict(self, mutant):
        """What killed it; None where nothing did, as where there is no mutant, and 'no SQL' where it is none."""
        with self.copy() as database:
            if mutant and self.psql(database, "-c", mutant.text).returncode != 0:
                return "no SQL"
            for step in self.steps:
                try:
                    if self.answer(database, step) != self.expected[step]:
                        return step
                except subprocess.TimeoutExpired:
                    return step + ", which did not end"
            return None
