"""What the add-on shows: its preferences, and a panel among the render properties."""

from __future__ import annotations

import os

import bpy

from . import session
from .library import tally
from .operators import frames_of


class TallystickPreferences(bpy.types.AddonPreferences):
    """Which mirror, whose account, what a frame costs, and where canonical is."""

    bl_idname = __package__

    mirror_path: bpy.props.StringProperty(
        name="Mirror",
        description="The ledger's file on this machine",
        subtype="FILE_PATH",
        default=os.path.join(bpy.utils.user_resource("CONFIG"), "tallystick", "mirror.db"),
    )
    user_id: bpy.props.StringProperty(name="User", description="Whose credits are spent: a UUID")
    price_per_frame: bpy.props.IntProperty(name="Credits a Frame", default=1, min=1, max=1_000_000)
    conninfo: bpy.props.StringProperty(
        name="Canonical", description="A PostgreSQL URI or conninfo string; only for syncing"
    )
    token: bpy.props.StringProperty(
        name="Token", description="This device's, from `tally device add`", subtype="PASSWORD"
    )
    sync_minutes: bpy.props.IntProperty(
        name="Sync Every (Minutes)", description="0: only when asked", default=0, min=0, max=1440
    )

    def draw(self, context: bpy.types.Context) -> None:
        column = self.layout.column()
        for name in ("mirror_path", "user_id", "price_per_frame"):
            column.prop(self, name)
        if not self.user_id:
            column.operator("tallystick.new_user")
        for name in ("conninfo", "token", "sync_minutes"):
            column.prop(self, name)


class TALLYSTICK_PT_credits(bpy.types.Panel):
    """Balance, what is held, and the buttons"""

    bl_label = "Credits"
    bl_space_type = "PROPERTIES"
    bl_region_type = "WINDOW"
    bl_context = "render"

    def draw(self, context: bpy.types.Context) -> None:
        column = self.layout.column()
        try:
            account = session.open_ledger().account()
        except (tally.TallyError, ValueError) as error:
            column.label(text=str(error), icon="ERROR")
            if not session.preferences().user_id:
                column.operator("tallystick.new_user")
            return
        column.label(text=f"Balance {account.balance}, held {account.held}")
        price = session.preferences().price_per_frame
        for animation, text in ((False, "Render Image"), (True, "Render Animation")):
            cost = price * frames_of(context.scene, animation)
            button = column.operator("tallystick.render", text=f"{text} ({cost} credits)")
            button.animation = animation
        if account.held and session.run is None:
            column.operator("tallystick.release_abandoned")
        if session.preferences().conninfo:
            column.operator("tallystick.sync")
            column.label(text=f"{account.pending_operations} operations to push")
        if session.message:
            column.label(text=session.message)


CLASSES = (TallystickPreferences, TALLYSTICK_PT_credits)
