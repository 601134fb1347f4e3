"""What Blender tells of a render, told to the ledger. A render without credits is none of ours."""

from __future__ import annotations

import bpy
from bpy.app.handlers import persistent

from . import session
from .library import tally
from .renders import Run


def _output(scene: bpy.types.Scene) -> str:
    return bpy.path.abspath(scene.render.filepath)


@persistent
def render_init(scene: bpy.types.Scene, *_: object) -> None:
    """The renderer starts."""
    if session.run is not None:
        session.run.start()


@persistent
def render_post(scene: bpy.types.Scene, *_: object) -> None:
    """A frame is made."""
    if session.run is not None:
        session.run.frame_done(scene.frame_current)


@persistent
def render_complete(scene: bpy.types.Scene, *_: object) -> None:
    """All frames are made."""
    _ended(scene, True)


@persistent
def render_cancel(scene: bpy.types.Scene, *_: object) -> None:
    """Escape, or a frame that could not be made or written."""
    _ended(scene, False)


def _ended(scene: bpy.types.Scene, completed: bool) -> None:
    run = session.run
    if run is None:
        return
    run.completed = completed
    run.output = _output(scene)
    if not run.awaited:
        settle(run)


def settle(run: Run, error: str = "") -> None:
    """Pays or releases, and says so. Where that cannot be had (a full disk), the credits stay held,
    and "Release Abandoned Renders" gives them back later."""
    session.run = None
    try:
        paid = run.settle(error)
        session.tell(f"{run.done} of {run.frames} frames rendered, {paid} credits paid")
    except (tally.TallyError, ValueError) as why:
        session.tell(f"the render could not be settled: {why}")


_HANDLERS = (render_init, render_post, render_complete, render_cancel)


def register() -> None:
    for handler in _HANDLERS:
        getattr(bpy.app.handlers, handler.__name__).append(handler)


def unregister() -> None:
    for handler in _HANDLERS:
        found = getattr(bpy.app.handlers, handler.__name__)
        if handler in found:
            found.remove(handler)
