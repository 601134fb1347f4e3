"""Run by blender_test.py inside of Blender: installs the add-on as a user would, and renders.

blender -b --factory-startup --python in_blender.py -- ZIP FOLDER [CONNINFO TOKEN]

Prints one line of JSON behind RESULT.
"""

from __future__ import annotations

import json
import pathlib
import sys

import bpy

ZIP, FOLDER, *CANONICAL = sys.argv[sys.argv.index("--") + 1 :]
OUT = pathlib.Path(FOLDER)


def small_scene() -> None:
    """The factory's cube, tiny, by Cycles on the CPU."""
    render = bpy.context.scene.render
    render.engine = "CYCLES"
    bpy.context.scene.cycles.device = "CPU"
    bpy.context.scene.cycles.samples = 1
    bpy.context.scene.cycles.use_denoising = False
    render.resolution_x = render.resolution_y = 32
    render.resolution_percentage = 100
    render.image_settings.file_format = "PNG"


def rendered(name: str, frames: int = 0) -> str:
    """Renders a still, or an animation of so many frames; answers what went wrong, or ""."""
    scene = bpy.context.scene
    scene.render.filepath = str(OUT / name)
    scene.frame_start, scene.frame_end = 1, max(frames, 1)
    try:
        bpy.ops.tallystick.render(animation=frames > 0, write_still=True)
    except RuntimeError as error:
        return str(error)
    return ""


def balance() -> list[int]:
    """The balance, and what is held."""
    account = session.open_ledger().account()
    return [account.balance, account.held]


bpy.ops.preferences.addon_install(filepath=ZIP)
bpy.ops.preferences.addon_enable(module="tallystick")
from tallystick import session  # noqa: E402
from tallystick.library import tally  # noqa: E402

session.preferences().mirror_path = str(OUT / "mirror.db")
session.preferences().price_per_frame = 2
small_scene()
bpy.ops.tallystick.new_user()
result: dict[str, object] = {
    "user": session.preferences().user_id,
    "tally": tally.__name__,
    "start": balance(),
}

result["still"] = [rendered("still.png"), balance()]
result["animation"] = [rendered("animation_", 2), balance()]

# The second frame's file is a folder, so that it cannot be written, which stops the render.
(OUT / "stopped_0002.png").mkdir()
result["stopped"] = [rendered("stopped_", 2), balance()]

result["too_dear"] = [rendered("dear_", 99), balance()]

camera = bpy.context.scene.camera
bpy.context.scene.camera = None
result["no_camera"] = [rendered("blind.png"), balance()]
bpy.context.scene.camera = camera

# A render without credits is nobody's business.
bpy.context.scene.render.filepath = str(OUT / "free.png")
bpy.ops.render.render(write_still=True)
result["free"] = balance()

# What a Blender that died would leave.
session.open_ledger().reserve("lost.blend", 1, 1)
held = balance()
bpy.ops.tallystick.release_abandoned()
result["abandoned"] = [held, balance()]

if CANONICAL:
    session.preferences().conninfo, session.preferences().token = CANONICAL
    result["sync"] = [sorted(bpy.ops.tallystick.sync(wait=True)), session.message]
maps = pathlib.Path("/proc/self/maps").read_text(encoding="utf-8")
result["libpq"] = sorted({line.split()[-1] for line in maps.splitlines() if "libpq" in line})
print("RESULT " + json.dumps(result), flush=True)
