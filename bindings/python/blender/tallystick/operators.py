"""The add-on's buttons."""

from __future__ import annotations

import bpy

from . import handlers, session
from .library import tally
from .renders import Run


def frames_of(scene: bpy.types.Scene, animation: bool) -> int:
    """How many frames a render makes."""
    if not animation:
        return 1
    return len(range(scene.frame_start, scene.frame_end + 1, scene.frame_step))


class TALLYSTICK_OT_render(bpy.types.Operator):
    """Reserve credits for every frame, render, and pay for the frames that were made"""

    bl_idname = "tallystick.render"
    bl_label = "Render with Credits"

    animation: bpy.props.BoolProperty(name="Animation", default=False)
    write_still: bpy.props.BoolProperty(name="Write Still", default=False)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """In the foreground, as scripts and `blender -b` want it."""
        return self._render(context, "EXEC_DEFAULT")

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """With Blender's own render window; the handlers see the end."""
        return self._render(context, "INVOKE_DEFAULT")

    def _render(self, context: bpy.types.Context, how: str) -> set[str]:
        if session.run is not None:
            self.report({"ERROR"}, "a render with credits is under way")
            return {"CANCELLED"}
        frames = frames_of(context.scene, self.animation)
        price = session.preferences().price_per_frame
        try:
            run = session.open_ledger().reserve(bpy.data.filepath, frames, price)
        except tally.InsufficientCredits:
            balance = session.open_ledger().account().balance
            self.report(
                {"ERROR"},
                f"not enough credits: {frames} frames cost {frames * price}, the balance is"
                f" {balance}; nothing was rendered",
            )
            return {"CANCELLED"}
        except (tally.TallyError, ValueError) as error:
            self.report({"ERROR"}, f"no credits could be reserved: {error}; nothing was rendered")
            return {"CANCELLED"}
        session.run = run
        return self._start(run, how)

    def _start(self, run: Run, how: str) -> set[str]:
        run.awaited = how == "EXEC_DEFAULT"
        try:
            result: set[str] = bpy.ops.render.render(
                how, animation=self.animation, write_still=self.write_still
            )
        except RuntimeError as error:  # No camera, no output, a renderer's trouble.
            handlers.settle(run, str(error))
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        if run.awaited or result == {"CANCELLED"}:
            handlers.settle(run)
        return {"FINISHED"} if run.completed or not run.awaited else {"CANCELLED"}


class TALLYSTICK_OT_sync(bpy.types.Operator):
    """Push what was done offline, and take what canonical answers"""

    bl_idname = "tallystick.sync"
    bl_label = "Sync"

    wait: bpy.props.BoolProperty(name="Wait", default=bpy.app.background)

    def execute(self, context: bpy.types.Context) -> set[str]:
        if not self.wait:
            session.sync_behind()
            return {"FINISHED"}
        text = session.sync()
        fine = text == "in sync"
        self.report({"INFO"} if fine else {"WARNING"}, text)
        return {"FINISHED"} if fine else {"CANCELLED"}


class TALLYSTICK_OT_new_user(bpy.types.Operator):
    """Make a user in this mirror, and use it from now on"""

    bl_idname = "tallystick.new_user"
    bl_label = "New User"

    def execute(self, context: bpy.types.Context) -> set[str]:
        try:
            user = session.open_ledger().new_user()
        except tally.TallyError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        session.preferences().user_id = str(user)
        return {"FINISHED"}


class TALLYSTICK_OT_release_abandoned(bpy.types.Operator):
    """Give back what renders hold that never ended, because Blender or the machine did"""

    bl_idname = "tallystick.release_abandoned"
    bl_label = "Release Abandoned Renders"

    def execute(self, context: bpy.types.Context) -> set[str]:
        try:
            count = session.open_ledger().release_abandoned(session.run)
        except (tally.TallyError, ValueError) as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        self.report({"INFO"}, f"{count} renders released")
        return {"FINISHED"}


CLASSES = (
    TALLYSTICK_OT_render,
    TALLYSTICK_OT_sync,
    TALLYSTICK_OT_new_user,
    TALLYSTICK_OT_release_abandoned,
)
