"""What the add-on has open: the ledger, the render under way, and a sync."""

from __future__ import annotations

import threading

import bpy

from .library import tally
from .renders import Ledger, Run

ledger: Ledger | None = None
run: Run | None = None
#: The last thing to tell, for the panel.
message = ""
_syncing: threading.Thread | None = None


def preferences() -> bpy.types.AddonPreferences:
    """The add-on's."""
    return bpy.context.preferences.addons[__package__].preferences


def open_ledger() -> Ledger:
    """The ledger that the preferences name; opened when it is first needed, or changed."""
    global ledger
    wanted = preferences()
    path = bpy.path.abspath(wanted.mirror_path)
    if ledger is not None and (ledger.path, str(ledger.user_id or "")) != (path, wanted.user_id):
        close()
    if ledger is None:
        ledger = Ledger(path, wanted.user_id)
    return ledger


def close() -> None:
    """Closes what is open."""
    global ledger
    if ledger is not None:
        ledger.close()
    ledger = None


def tell(text: str) -> None:
    """Has the panel say it."""
    global message
    message = text
    print(f"Tallystick: {text}")


def sync(timeout_ms: int = 30_000) -> str:
    """Syncs once, and answers what to tell."""
    wanted = preferences()
    try:
        state = open_ledger().sync(wanted.conninfo, wanted.token, timeout_ms)
        rejected = len(open_ledger().engine.rejected())
        text = f"{state}; {rejected} operations were rejected" if rejected else "in sync"
    except (tally.TallyError, ValueError) as error:
        text = f"not in sync: {error}"
    tell(text)
    return text


def sync_behind() -> None:
    """Syncs without holding up Blender."""
    global _syncing
    if _syncing is None or not _syncing.is_alive():
        _syncing = threading.Thread(target=sync, name="tallystick-sync", daemon=True)
        _syncing.start()


def sync_timer() -> float:
    """For bpy.app.timers: syncs now and then, where the preferences say so."""
    minutes: int = preferences().sync_minutes
    if minutes and preferences().conninfo:
        sync_behind()
    return 60.0 * (minutes or 1)
