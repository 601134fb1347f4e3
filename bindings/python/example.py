#!/usr/bin/env python3
"""A day of a render tool, offline: reserve, work, settle; refuse; release; look at the ledger."""

import pathlib
import tempfile

import tally

mirror = pathlib.Path(tempfile.mkdtemp(prefix="tally-example-")) / "mirror.db"

with tally.open(mirror, on_low_credits=lambda user, balance: print("low:", balance)) as engine:
    ada, film = tally.new_uuid(), tally.new_uuid()
    engine.create_user(user_id=ada, display_name="Ada")  # Comes with 10 trial credits.
    engine.create_project(
        project_id=film,
        user_id=ada,
        title="Film",
        prompt_text="A lighthouse at dawn",
        niche_preset="history",
        target_minutes=1,
    )

    # Reserved before, settled after; what was not used comes back.
    with engine.job(user_id=ada, project_id=film, amount=8) as job:
        job.advance("RENDERING")
        for percent in (25, 50, 75):
            job.progress("RENDERING", percent)
        job.final_cost = 5
    print("after the first film:", engine.balance(ada))

    # What cannot be paid is refused before any work is done.
    try:
        with engine.job(user_id=ada, project_id=film, amount=8):
            raise AssertionError("never reached")
    except tally.InsufficientCredits as refusal:
        print("refused:", refusal.name)

    # A render that fails costs nothing.
    engine.add_credits(user_id=ada, amount=20, type=tally.EntryType.purchase, note="20 credits")
    try:
        with engine.job(user_id=ada, project_id=film, amount=8) as failed:
            failed.advance("RENDERING")
            raise RuntimeError("the GPU caught fire")
    except RuntimeError:
        print("failed:", failed.row.error_message)

    account = engine.account(ada)
    print("balance", account.balance, "held", account.held)
    for entry in account.entries():
        print(f"{entry.seq:3} {entry.type:8} {entry.amount:+4} {entry.balance_after:4}  {entry.note}")
