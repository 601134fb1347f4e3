"""What an engine measured: each value as it comes, and what it all comes to."""

from __future__ import annotations

import dataclasses
import threading
from typing import Any, Callable, Sequence

from ._library import lib
from ._types import Metric

#: In the order of C's TALLY_METRIC_KIND_...; a test compares them.
KINDS = ("counter", "histogram", "gauge")

#: What on_metric gets: the metric's name, the value, and the attributes.
Told = Callable[[str, float, "dict[str, str]"], object]


def name_of(metric: int) -> str:
    """OpenTelemetry's."""
    return str(lib.tally_metric_name(metric).decode())


class Totals:
    """What came of each metric with each set of attributes. Thread-safe."""

    def __init__(self, told: Told | None) -> None:
        self._told = told
        self._lock = threading.Lock()
        self._of: dict[tuple[int, tuple[tuple[str, str], ...]], Metric] = {}

    def add(self, metric: int, value: float, attributes: dict[str, str]) -> None:
        """One measurement, as the engine tells it."""
        key = (metric, tuple(attributes.items()))
        with self._lock:
            before = self._of.get(key)
            if before is None:
                self._of[key] = _begun(metric, value, attributes)
            else:
                self._of[key] = _grown(before, value)
        if self._told is not None:
            self._told(name_of(metric), value, attributes)

    def read(self) -> list[Metric]:
        """In the order of the table of metrics."""
        with self._lock:
            return [self._of[key] for key in sorted(self._of)]


def _begun(metric: int, value: float, attributes: dict[str, str]) -> Metric:
    kind = KINDS[lib.tally_metric_kind(metric)]
    unit = lib.tally_metric_unit(metric).decode()
    return Metric(name_of(metric), kind, unit, attributes, 1, value, value, value)


def _grown(before: Metric, value: float) -> Metric:
    return dataclasses.replace(
        before,
        count=before.count + 1,
        value=value if before.kind == "gauge" else before.value + value,
        least=min(before.least, value),
        greatest=max(before.greatest, value),
    )


def measured(metric: int, value: float, attributes: Any, count: int) -> Sequence[Any]:
    """C's arguments as Totals.add() takes them."""
    named = {attributes[i].name.decode(): attributes[i].value.decode() for i in range(count)}
    return metric, value, named
