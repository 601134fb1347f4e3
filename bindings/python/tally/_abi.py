"""The structs and functions of bindings/c/tally.h in ctypes; a test compares each layout with C's.

Ids cross as `bytes` of length 16, texts as `bytes` and their length. Functions that return
`const char*` return bytes; `tally_text*` is an address, read by _library.take_text().
"""

from __future__ import annotations

import ctypes
from ctypes import (
    CFUNCTYPE,
    POINTER,
    Structure,
    c_char,
    c_char_p,
    c_double,
    c_int32,
    c_int64,
    c_size_t,
    c_uint8,
    c_uint32,
    c_void_p,
)
from typing import Any

ABI_VERSION = 1

CALL_OP_ID = 1
CALL_AT = 2
RECEIPT_BALANCE = 1
RECEIPT_ID = 2
SYNC_DEVICE_ID = 1
BALANCE_NONE = -(2**62)
INT64_MIN = -(2**63)

# tally_uuid: the address of its sixteen bytes is all that any function takes.
Uuid = c_uint8 * 16


class Sized(Structure):
    """A struct that begins with its own size."""

    def __init__(self, **fields: Any) -> None:
        super().__init__(**fields)
        self.struct_size = ctypes.sizeof(self)


class Error(Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("code", c_int32),
        ("index", c_int64),
        ("detail", c_char * 496),
    ]


UserJob = CFUNCTYPE(None, c_void_p, POINTER(Uuid), POINTER(Uuid))
UserCredits = CFUNCTYPE(None, c_void_p, POINTER(Uuid), c_int64)
LogLine = CFUNCTYPE(None, c_void_p, c_int32, POINTER(c_char), c_size_t)


class Attribute(Structure):
    _fields_ = [("name", c_char_p), ("value", c_char_p)]


Measurement = CFUNCTYPE(None, c_void_p, c_int32, c_double, POINTER(Attribute), c_size_t)


class Callbacks(Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("reserved", c_uint32),
        ("context", c_void_p),
        ("job_complete", UserJob),
        ("job_failed", UserJob),
        ("low_credits", UserCredits),
        ("log", LogLine),
        ("metric", Measurement),
    ]


class Options(Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("durability", c_int32),
        ("spend_policy", c_int32),
        ("must_exist", c_int32),
        ("busy_timeout_ms", c_int64),
        ("verdict_timeout_ms", c_int64),
        ("low_credits", c_int64),
        ("cache_kib", c_int64),
        ("callbacks", POINTER(Callbacks)),
    ]


class Call(Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("flags", c_uint32),
        ("op_id", Uuid),
        ("at_us", c_int64),
    ]


class Receipt(Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("flags", c_uint32),
        ("op_id", Uuid),
        ("id", Uuid),
        ("balance", c_int64),
    ]


class Check(Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("reserved", c_uint32),
        ("balance", c_int64),
        ("held", c_int64),
        ("entries", c_int64),
        ("pending_operations", c_int64),
    ]


class Hold(Structure):
    _fields_ = [("job_id", Uuid), ("reservation", Uuid), ("amount", c_int64)]


Json = CFUNCTYPE(None, c_void_p, POINTER(c_char), c_size_t)
Verdict = CFUNCTYPE(None, c_void_p, c_int64, POINTER(Uuid), c_int32)
Progress = CFUNCTYPE(None, c_void_p, c_int64, c_int64)
State = CFUNCTYPE(None, c_void_p, c_int32, c_int32, POINTER(c_char), c_size_t)
Users = CFUNCTYPE(None, c_void_p, POINTER(Uuid), c_size_t)
User = CFUNCTYPE(None, c_void_p, POINTER(Uuid))


class SyncCallbacks(Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("reserved", c_uint32),
        ("context", c_void_p),
        ("rejected", Json),
        ("verdict", Verdict),
        ("progress", Progress),
        ("state", State),
        ("changed", Users),
        ("diverged", User),
    ]


class SyncOptions(Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("flags", c_uint32),
        ("conninfo", c_char_p),
        ("conninfo_length", c_size_t),
        ("token", c_char_p),
        ("token_length", c_size_t),
        ("schema", c_char_p),
        ("schema_length", c_size_t),
        ("device_id", Uuid),
        ("operations_max", c_int64),
        ("bytes_max", c_int64),
        ("rows_max", c_int64),
        ("poll_interval_ms", c_int64),
        ("call_timeout_ms", c_int64),
        ("backoff_base_ms", c_int64),
        ("backoff_cap_ms", c_int64),
        ("digest_every", c_int64),
        ("lease_size", c_int64),
        ("lease_low_water", c_int64),
        ("lease_ttl_s", c_int64),
        ("callbacks", POINTER(SyncCallbacks)),
    ]


class Wait(Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("state", c_int32),
        ("socket", c_int64),
        ("readable", c_int32),
        ("writable", c_int32),
        ("timeout_ms", c_int64),
    ]


#: Every struct that crosses, by its name in C.
STRUCTS: dict[str, type[Structure]] = {
    "tally_error": Error,
    "tally_attribute": Attribute,
    "tally_callbacks": Callbacks,
    "tally_options": Options,
    "tally_call": Call,
    "tally_receipt": Receipt,
    "tally_check": Check,
    "tally_hold": Hold,
    "tally_sync_callbacks": SyncCallbacks,
    "tally_sync_options": SyncOptions,
    "tally_wait": Wait,
}

# Shorthands for the signatures below. A pointer to a struct is what byref() makes; c_void_p takes
# that, an address, or None, and converts faster than POINTER(...) does.
_ENGINE = _SYNCER = _OUT = _ERROR = _CALL = _RECEIPT = c_void_p
_ID = c_char_p
_TEXT = (c_char_p, c_size_t)
_END = (_CALL, _RECEIPT, _ERROR)

#: What each function returns, and its arguments.
FUNCTIONS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "tally_abi_version": (c_uint32, ()),
    "tally_version": (c_char_p, ()),
    "tally_sqlite_version": (c_char_p, ()),
    "tally_code_name": (c_char_p, (c_int32,)),
    "tally_code_class": (c_int32, (c_int32,)),
    "tally_metric_name": (c_char_p, (c_int32,)),
    "tally_metric_unit": (c_char_p, (c_int32,)),
    "tally_metric_kind": (c_int32, (c_int32,)),
    "tally_uuid_new": (c_int32, (_OUT,)),
    "tally_text_data": (c_void_p, (c_void_p,)),
    "tally_text_length": (c_size_t, (c_void_p,)),
    "tally_text_free": (None, (c_void_p,)),
    "tally_engine_open": (c_int32, (*_TEXT, _OUT, _OUT, _ERROR)),
    "tally_engine_free": (None, (_ENGINE,)),
    "tally_apply": (c_int32, (_ENGINE, *_TEXT, _RECEIPT, _ERROR)),
    "tally_submit": (c_int32, (_ENGINE, *_TEXT, _OUT, _ERROR)),
    "tally_add_credits": (c_int32, (_ENGINE, _ID, c_int64, c_int32, *_TEXT, *_END)),
    "tally_create_job": (c_int32, (_ENGINE, _ID, _ID, _ID, *_END)),
    "tally_reserve_credits": (c_int32, (_ENGINE, _ID, _ID, c_int64, *_END)),
    "tally_advance_job": (c_int32, (_ENGINE, _ID, c_int32, *_TEXT, *_END)),
    "tally_report_progress": (c_int32, (_ENGINE, _ID, c_int32, c_int64, *_TEXT, *_END)),
    "tally_finalize_job_credits": (c_int32, (_ENGINE, _ID, c_int64, *_END)),
    "tally_release_job_credits": (c_int32, (_ENGINE, _ID, *_END)),
    "tally_complete_job": (c_int32, (_ENGINE, _ID, c_int64, *_TEXT, *_END)),
    "tally_fail_job": (c_int32, (_ENGINE, _ID, *_TEXT, *_TEXT, *_END)),
    "tally_claim_job": (c_int32, (_ENGINE, _ID, c_int64, *_END)),
    "tally_engine_balance_value": (c_int64, (_ENGINE, _ID)),
    "tally_engine_balance": (c_int32, (_ENGINE, _ID, _OUT, _ERROR)),
    "tally_engine_check": (c_int32, (_ENGINE, _ID, _OUT, _ERROR)),
    "tally_engine_account": (c_int32, (_ENGINE, _ID, _OUT, _OUT, c_size_t, _OUT, _ERROR)),
    "tally_engine_account_state": (c_int32, (_ENGINE, _ID, _OUT, _ERROR)),
    "tally_engine_history": (c_int32, (_ENGINE, _ID, c_size_t, c_int64, _OUT, _ERROR)),
    "tally_engine_project": (c_int32, (_ENGINE, _ID, _OUT, _ERROR)),
    "tally_engine_job": (c_int32, (_ENGINE, _ID, _OUT, _ERROR)),
    "tally_engine_jobs": (c_int32, (_ENGINE, _ID, _OUT, _ERROR)),
    "tally_engine_drafts": (c_int32, (_ENGINE, _ID, _OUT, _ERROR)),
    "tally_engine_users": (c_int32, (_ENGINE, _OUT, _ERROR)),
    "tally_engine_rows": (c_int32, (_ENGINE, *_TEXT, _ID, _OUT, _ERROR)),
    "tally_engine_digest": (c_int32, (_ENGINE, _ID, _OUT, _ERROR)),
    "tally_engine_audit": (c_int32, (_ENGINE, _OUT, _ERROR)),
    "tally_engine_backup": (c_int32, (_ENGINE, *_TEXT, c_int32, _OUT, _ERROR)),
    "tally_engine_pending_operations": (c_int32, (_ENGINE, _OUT, _ERROR)),
    "tally_syncer_new": (c_int32, (_ENGINE, _OUT, _OUT, _ERROR)),
    "tally_syncer_free": (None, (_SYNCER,)),
    "tally_syncer_step": (c_int32, (_SYNCER, _OUT, _ERROR)),
    "tally_syncer_run": (c_int32, (_SYNCER, c_int64, _OUT, _ERROR)),
    "tally_syncer_start": (c_int32, (_SYNCER, _ERROR)),
    "tally_syncer_stop": (None, (_SYNCER,)),
    "tally_syncer_resume": (c_int32, (_SYNCER, *_TEXT, _ERROR)),
    "tally_syncer_enrol_anew": (c_int32, (_SYNCER, c_int64, _ERROR)),
    "tally_syncer_claim_next": (c_int32, (_SYNCER, c_int64, c_int64, _OUT, _OUT, _ERROR)),
    "tally_syncer_verify": (c_int32, (_SYNCER, _ID, c_int64, _OUT, _ERROR)),
    "tally_engine_sync_status": (c_int32, (_ENGINE, _OUT, _ERROR)),
    "tally_engine_leases": (c_int32, (_ENGINE, _OUT, _ERROR)),
    "tally_engine_rejected": (c_int32, (_ENGINE, _OUT, _ERROR)),
    "tally_engine_dismiss": (c_int32, (_ENGINE, c_int64, _ERROR)),
    "tally_engine_retry": (c_int32, (_ENGINE, c_int64, _RECEIPT, _ERROR)),
    "tally_engine_subscribe": (c_int32, (_ENGINE, _ID, c_size_t, _ERROR)),
}
