"""Tallystick in Blender: credits are reserved before a render and settled or released after it,
offline; then synced with canonical. Renders that are started otherwise are not touched.

Files in reading order: renders.py (what a render is to the ledger), operators.py, handlers.py,
session.py (what is open), panel.py, library.py.
"""

import bpy

from . import handlers, operators, panel, session

bl_info = {
    "name": "Tallystick",
    "description": "Render with credits: reserve before, settle or release after, offline",
    "author": "Tallystick",
    "version": (0, 0, 0),
    "blender": (3, 4, 0),
    "location": "Properties > Render > Credits",
    "category": "Render",
}


def register() -> None:
    for each in (*panel.CLASSES, *operators.CLASSES):
        bpy.utils.register_class(each)
    handlers.register()
    bpy.app.timers.register(session.sync_timer, first_interval=60.0, persistent=True)


def unregister() -> None:
    if bpy.app.timers.is_registered(session.sync_timer):
        bpy.app.timers.unregister(session.sync_timer)
    handlers.unregister()
    session.close()
    for each in reversed((*panel.CLASSES, *operators.CLASSES)):
        bpy.utils.unregister_class(each)
