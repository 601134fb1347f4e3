"""Amounts, times, ids and JSON keep what they say on the way, and mistakes are told early."""

from __future__ import annotations

import pickle
import unittest
import uuid
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from typing import Any

from support import MirrorTest

import tally
from tally import _values
from tally._tables import EXCEPTIONS


class Amounts(MirrorTest):
    def test_a_bool_or_a_float_is_no_amount(self) -> None:
        job = self.new_job()
        bad: list[Any] = [True, False, 8.0, Decimal(8), Fraction(8), "8"]
        for amount in bad:
            with self.subTest(amount=amount):
                with self.assertRaises(TypeError):
                    self.engine.reserve_credits(user_id=self.user, job_id=job, amount=amount)
                with self.assertRaises(TypeError):
                    self.engine.add_credits(user_id=self.user, amount=amount, type="grant")
                with self.assertRaises(TypeError), self.engine.batch() as batch:
                    batch.expire_credits(user_id=self.user, amount=amount)
        self.assertEqual(self.engine.balance(self.user), 10)

    def test_what_is_out_of_range_the_engine_answers(self) -> None:
        job = self.new_job()
        for amount in (0, -1, 2**31, 2**63, 2**64 + 8, -(2**64) + 8, 10**40):
            with self.subTest(amount=amount):
                with self.assertRaises((tally.InvalidAmount, tally.InvalidArgument)):
                    self.engine.reserve_credits(user_id=self.user, job_id=job, amount=amount)
                with self.assertRaises((tally.InvalidAmount, tally.InvalidArgument)):
                    self.engine.expire_credits(user_id=self.user, amount=amount)
        self.assertEqual(self.engine.balance(self.user), 10)

    def test_an_int_of_a_subclass_is_an_int(self) -> None:
        class Credits(int):
            pass

        receipt = self.engine.add_credits(user_id=self.user, amount=Credits(7), type="grant")
        self.assertEqual(receipt.balance, 17)

    def test_options_beyond_64_bits_are_not_cut(self) -> None:
        with self.assertRaises(ValueError):
            tally.open(self.path, busy_timeout_ms=2**64 + 5)
        with self.assertRaises(TypeError):
            tally.open(self.path, low_credits=1.5)  # type: ignore[arg-type]


class Times(MirrorTest):
    def test_a_time_survives_to_the_microsecond_both_ways(self) -> None:
        east = timezone(timedelta(hours=5, minutes=30))
        at = datetime(2026, 1, 18, 3, 4, 5, 678901, tzinfo=east)
        self.engine.add_credits(user_id=self.user, amount=1, type="grant", at=at)  # typed
        self.engine.expire_credits(user_id=self.user, amount=1, at=at)  # JSON
        for entry in self.engine.history(self.user, limit=2):
            self.assertEqual(entry.created_at, at)
            self.assertEqual(entry.created_at.tzinfo, timezone.utc)

    def test_times_at_the_ends_of_what_there_is(self) -> None:
        for at in (
            datetime(1, 1, 1, tzinfo=timezone.utc),
            datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=timezone.utc),
            datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=timezone.utc),
        ):
            self.assertEqual(_values.parse_time(_values.time_text(at)), at)
            self.engine.add_credits(user_id=self.user, amount=1, type="grant", at=at)
            self.assertEqual(next(self.engine.history(self.user)).created_at, at)

    def test_a_naive_time_is_a_mistake(self) -> None:
        for at in (datetime(2026, 1, 18), datetime.now()):
            with self.assertRaises(ValueError):
                self.engine.add_credits(user_id=self.user, amount=1, type="grant", at=at)
            with self.assertRaises(ValueError):
                self.engine.expire_credits(user_id=self.user, amount=1, at=at)
        with self.assertRaises(TypeError):
            self.engine.expire_credits(
                user_id=self.user, amount=1, at="2026-01-18"  # type: ignore[arg-type]
            )


class Ids(MirrorTest):
    def test_ids_are_given_as_uuid_or_text_and_answered_as_uuid(self) -> None:
        self.assertEqual(self.engine.balance(str(self.user)), 10)
        self.assertEqual(self.engine.balance(str(self.user).upper()), 10)
        self.assertEqual(self.engine.users(), [self.user])
        entry = next(self.engine.history(str(self.user)))
        self.assertIsInstance(entry.id, uuid.UUID)
        self.assertEqual(entry.user_id, self.user)

    def test_what_is_no_id_is_told_early(self) -> None:
        for text in ("ada", "", str(self.user)[:-1], "{" + str(self.user) + "}", self.user.hex):
            with self.subTest(text=text), self.assertRaises(ValueError):
                self.engine.balance(text)
        wrong: list[Any] = [None, 5, self.user.bytes]
        for value in wrong:
            with self.subTest(value=value), self.assertRaises(TypeError):
                self.engine.balance(value)

    def test_new_ids_are_of_version_7_and_increase(self) -> None:
        ids = [tally.new_uuid() for _ in range(1_000)]
        self.assertEqual(ids, sorted(ids))
        self.assertEqual({(i.version, i.variant) for i in ids}, {(7, uuid.RFC_4122)})


class Json(MirrorTest):
    def settings_back(self, settings: Any) -> Any:
        project = self.new_project(settings=settings)
        return self.engine.project(project).settings

    def test_every_digit_survives(self) -> None:
        digits = {
            "whole": 1234567890123456789012345678901234567890,
            "negative": -(2**63) - 1,
            "decimal": Decimal("0.1234567890123456789012345678901234567"),
            "float": 0.1,
        }
        back = self.settings_back(digits)
        self.assertEqual(back["whole"], digits["whole"])
        self.assertEqual(back["negative"], digits["negative"])
        self.assertEqual(back["decimal"], digits["decimal"])
        self.assertEqual(back["float"], Decimal("0.1"))
        self.assertIsInstance(back["whole"], int)

    def test_every_text_survives(self) -> None:
        texts = ['quote " back \\ slash', "line\nfeed\ttab\x01", "💶 ẞ \u2028 \ue000", "", "é" * 500]
        self.assertEqual(self.settings_back({"texts": texts}), {"texts": texts})
        note = texts[1] + texts[2]
        self.engine.add_credits(user_id=self.user, amount=1, type="grant", note=note)
        self.assertEqual(next(self.engine.history(self.user)).note, note)

    def test_every_kind_of_value_survives(self) -> None:
        value: Any = {"a": [None, True, False, 0, -1, "x", [], {}, {"b": {"c": [1]}}]}
        self.assertEqual(self.settings_back(value), value)
        self.assertEqual(self.settings_back({"words": (tally.JobStatus.READY, 1)}), {"words": ["READY", 1]})

    def test_what_is_no_json_is_told_early(self) -> None:
        endless: list[Any] = []
        endless.append(endless)
        for value in (float("nan"), float("inf"), Decimal("NaN"), endless, "\ud800"):
            with self.subTest(value=repr(value)[:20]), self.assertRaises(ValueError):
                self.new_project(settings={"x": value})
        for other in ({1: 2}, {"x": object()}, {"x": b"bytes"}, {"x": {1, 2}}):
            with self.subTest(value=other), self.assertRaises(TypeError):
                self.new_project(settings=other)

    def test_the_engine_judges_depth_and_text(self) -> None:
        deep: Any = {}
        for _ in range(40):
            deep = {"x": deep}
        with self.assertRaises(tally.InvalidArgument):
            self.new_project(settings=deep)
        with self.assertRaises(tally.InvalidArgument):
            self.engine.add_credits(user_id=self.user, amount=1, type="grant", note="a\0b")

    def test_a_word_is_the_enumerations_or_its_text(self) -> None:
        for word in (tally.EntryType.purchase, "purchase"):
            self.engine.add_credits(user_id=self.user, amount=1, type=word)
            self.assertEqual(next(self.engine.history(self.user)).type, "purchase")
        with self.assertRaises(tally.InvalidType):
            self.engine.add_credits(user_id=self.user, amount=1, type="gift")
        with self.assertRaises(TypeError):
            self.engine.add_credits(user_id=self.user, amount=1, type=3)  # type: ignore[arg-type]


class Exceptions(MirrorTest):
    def test_they_say_code_name_detail_and_op_id(self) -> None:
        job, op_id = self.new_job(), tally.new_uuid()
        with self.assertRaises(tally.InsufficientCredits) as caught:
            self.engine.reserve_credits(user_id=self.user, job_id=job, amount=11, op_id=op_id)
        error = caught.exception
        self.assertIsInstance(error, tally.Refusal)
        self.assertEqual(error.code, tally.Code.insufficient_credits)
        self.assertEqual((error.name, error.op_id, error.index), ("insufficient_credits", op_id, None))
        self.assertIn("insufficient_credits", str(error))
        with self.assertRaises(tally.InsufficientCredits) as made:
            self.engine.reserve_credits(user_id=self.user, job_id=job, amount=11)
        self.assertIsInstance(made.exception.op_id, uuid.UUID)
        self.assertNotEqual(made.exception.op_id, op_id)

    def test_a_reading_call_has_no_op_id(self) -> None:
        self.new_job(8)
        with self.assertRaises(tally.JobNotFound) as caught:
            self.engine.job_state(tally.new_uuid())
        self.assertIsNone(caught.exception.op_id)

    def test_they_cross_processes_whole(self) -> None:
        error = tally.InsufficientCredits("why", index=3, op_id=self.user)
        again = pickle.loads(pickle.dumps(error))
        self.assertIs(type(again), tally.InsufficientCredits)
        self.assertEqual(vars(again), vars(error))
        self.assertEqual(str(again), str(error))

    def test_every_code_has_its_exception(self) -> None:
        for code in tally.Code:
            if code is tally.Code.ok:
                continue
            kind = EXCEPTIONS[code]
            self.assertEqual((kind.code, kind.name), (code, code.name))
            self.assertTrue(issubclass(kind, tally.Failure if code >= 100 else tally.Refusal))
            self.assertTrue(kind.__doc__)
            self.assertIs(getattr(tally, kind.__name__), kind)

    def test_receipts_are_values(self) -> None:
        op_id = tally.new_uuid()
        first = self.engine.add_credits(user_id=self.user, amount=1, type="grant", op_id=op_id)
        again = self.engine.add_credits(user_id=self.user, amount=1, type="grant", op_id=op_id)
        self.assertEqual(first, again)
        self.assertEqual(len({first, again}), 1)
        self.assertEqual((first.op_id, first.balance, first.id), (op_id, 11, None))
        self.assertIn(str(op_id), repr(first))


if __name__ == "__main__":
    unittest.main()
