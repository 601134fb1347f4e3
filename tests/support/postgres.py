"""A real PostgreSQL for the tests that are written in Python."""

import os
import pathlib
import pwd
import shutil
import subprocess
import tempfile


class Postgres:
    """A server of the test's own, on a unix socket in a folder that goes with it."""

    @staticmethod
    def binaries():
        given = os.environ.get("TALLY_PG_BINDIR")
        folders = [pathlib.Path(given)] if given else sorted(
            pathlib.Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: int(p.parent.name), reverse=True)
        return next((f for f in folders if (f / "initdb").exists() and (f / "pg_ctl").exists()), None)

    def __init__(self, fsync="off"):
        self.folder = tempfile.mkdtemp(prefix="tally-cli-pg-", dir="/tmp")
        self.as_user = {}
        if os.geteuid() == 0:
            for name in ("postgres", "nobody"):
                try:
                    owner = pwd.getpwnam(name)
                    break
                except KeyError:
                    continue
            os.chown(self.folder, owner.pw_uid, owner.pw_gid)
            self.as_user = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
        self._run("initdb", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "-N")
        self._run("pg_ctl", "-w", "-l", f"{self.folder}/log", "-o",
                  f"-c listen_addresses='' -c unix_socket_directories={self.folder} -c fsync={fsync}", "start")
        self.count = 0

    def _run(self, program, *arguments):
        subprocess.run([self.binaries() / program, "-D", f"{self.folder}/data", *arguments], check=True,
                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                       cwd="/", **self.as_user)

    def close(self):
        self._run("pg_ctl", "-m", "immediate", "-w", "stop")
        shutil.rmtree(self.folder, ignore_errors=True)

    def conninfo(self, database="postgres"):
        return f"host={self.folder} port=5432 user=postgres dbname={database}"

    def sql(self, text, database="postgres"):
        done = subprocess.run([self.binaries() / "psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d",
                               self.conninfo(database), "-c", text], check=True, capture_output=True)
        return done.stdout.decode().strip()

    def fresh(self):
        """A new empty database's conninfo and name."""
        self.count += 1
        name = f"fresh_{self.count}"
        self.sql(f"create database {name} template template0")
        return self.conninfo(name), name
