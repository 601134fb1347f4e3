"""What a render is to the ledger. Knows nothing of Blender, so that it can be read alone."""

from __future__ import annotations

import uuid
from pathlib import Path

from .library import tally

#: Names a .blend file's project among a user's: the same file is the same project everywhere.
_NAMESPACE = uuid.UUID("5f0c1f3e-6f0b-5d6c-9f57-6d1a3c7be0aa")


class Run:
    """One render: credits for all its frames are reserved, and those that were made are paid."""

    def __init__(self, job: tally.Job, frames: int, price: int) -> None:
        self.job = job
        self.frames = frames
        self.price = price
        self.done = 0
        self.paid: int | None = None
        #: Whether the operator waits for the render, and settles it: it alone sees errors.
        self.awaited = False
        self.completed = False
        self.output = ""

    def start(self) -> None:
        """The renderer is at work."""
        if self.job.status is tally.JobStatus.QUEUED:
            self.job.advance("RENDERING")

    def frame_done(self, frame: int) -> None:
        """A frame was made, and is to be paid."""
        self.done = min(self.done + 1, self.frames)
        self.job.report_progress(
            "RENDERING",
            100 * self.done // self.frames,
            status_message=f"frame {frame}, {self.done} of {self.frames}",
        )

    def settle(self, error: str = "") -> int:
        """Pays for what was made, and gives the rest back; where nothing is, all is released.
        Answers the price."""
        if error and self.frames == 1:
            self.done = 0  # Blender tells of a frame that its renderer could not make, too.
        self.paid = self.done * self.price
        if self.done:
            self.job.complete(self.paid, output_url=self.output or None)
        else:
            code = "RENDER_FAILED" if error else "RENDER_CANCELLED"
            self.job.fail(code, error or "the render was stopped")
        return self.paid


class Ledger:
    """A user's account in a mirror, as the add-on uses it."""

    def __init__(self, path: str, user_id: str) -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        self.engine = tally.open(path)
        self.path = path
        self.user_id = uuid.UUID(user_id) if user_id else None

    def close(self) -> None:
        """Lets go of the mirror."""
        self.engine.close()

    def new_user(self) -> uuid.UUID:
        """Makes a user, for a mirror that is no device yet; comes with trial credits."""
        self.user_id = tally.new_uuid()
        self.engine.create_user(user_id=self.user_id)
        return self.user_id

    def user(self) -> uuid.UUID:
        """The user, who has to be named."""
        if self.user_id is None:
            raise ValueError("no user: name one in the add-on's preferences, or make one")
        return self.user_id

    def account(self) -> tally.AccountState:
        """Balance and holds."""
        return self.engine.account_state(self.user())

    def reserve(self, blend: str, frames: int, price: int) -> Run:
        """Credits for so many frames, and a job in the file's project, in one commit. Raises
        InsufficientCredits, and whatever else keeps the render from being paid."""
        user = self.user()
        name = Path(blend).name or "unsaved"
        project = uuid.uuid5(_NAMESPACE, f"{user}/{name}")
        try:
            self.engine.project(project)
        except tally.ProjectNotFound:
            self.engine.create_project(
                project_id=project,
                user_id=user,
                title=name[:60],
                prompt_text=f"Rendered with Blender from {name}",
                niche_preset="explainer",
                target_minutes=1,
            )
        job = self.engine.job(user_id=user, project_id=project, amount=frames * price)
        job.begin()
        return Run(job, frames, price)

    def release_abandoned(self, running: Run | None) -> int:
        """Fails the user's renders that never ended, because Blender or the machine did; answers
        how many."""
        ours = running.job.job_id if running is not None and running.paid is None else None
        ended = (tally.JobStatus.READY, tally.JobStatus.FAILED)
        open_jobs = [
            row.id
            for row in self.engine.jobs(self.user())
            if row.status not in ended and row.id != ours
        ]
        for job_id in open_jobs:
            self.engine.fail_job(job_id=job_id, error_code="ABANDONED")
        return len(open_jobs)

    def sync(self, conninfo: str, token: str, timeout_ms: int) -> str:
        """Pushes and pulls once; answers the state. Raises what keeps it from being in sync."""
        with self.engine.syncer(conninfo, token=token) as syncer:
            return syncer.run(timeout_ms=timeout_ms).value
