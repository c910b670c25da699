"""What of a cycle's CPU time is whose: the functions at the borders of its parts, watched from outside.

A part has the time of its functions without that of the parts they call, by the clock of the thread they run in. What
no part has is the rest: the event loop, tasks, deadlines, records of each answer.
"""

import importlib
import inspect
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

READING = "reading: OpenSSL, the kernel, HTTP"
DECODING = "bytes to columns"
NAMES = "names to rows"
CELLS = "cells into columns"
RATES = "rates"
SUMS = "four aggregators"
ENRICHING = "enrichment"
FREEZING = "joining labelled tables, freezing"
STORING = "storing: what 15 minutes keep, what goes"
LINES = "columns to lines"
SPOOLING = "the spool"
WATCHED = "whole, watched"

PARTS = {
    READING: ("collector.sources.link:Link._read_on", "collector.sources.link:Link._write"),
    DECODING: ("collector.sources.endpoints:SUMMARY.decode_together",),
    NAMES: (
        "collector.core.identities:Identities.find",
        "collector.core.writer:Writer.without_duplicates",
        "collector.core.writer:Writer.claim",
    ),
    CELLS: ("collector.core.intake:Intake.add_group", "collector.core.intake:Intake.flush"),
    RATES: ("collector.processors.rate:RateCalculator.steps",),
    SUMS: tuple(
        f"collector.processors.aggregate:{kind}Aggregator.steps" for kind in ("Pod", "Namespace", "Node", "Cluster")
    ),
    ENRICHING: (
        "collector.processors.enrich:PodEnricher.steps",
        "collector.processors.enrich:NamespaceEnricher.steps",
        "collector.processors.autoscaling:NodeAutoscalingEnricher.steps",
    ),
    FREEZING: ("collector.core.batch:DataBatch.freezing",),
    STORING: (
        "collector.core.store:_kept",
        "collector.core.store:MetricStore._keep",
        "collector.core.store:MetricStore.expire",
        "collector.core.entities:EntityTable.sweep",
    ),
    LINES: ("sinks.influxdb.encoder:LineEncoder.encode",),
    SPOOLING: tuple(f"sinks.spool.spool:Spool.{name}" for name in ("append", "keep", "seal", "flush")),
}
"""Part -> `module:object.attribute` of its functions. They do not wait: no coroutine is among them."""


class Watch:
    """Seconds of CPU each part has had, while `watching`; and how often each border was crossed."""

    def __init__(self) -> None:
        self._of = threading.local()
        self.seconds: Counter[str] = Counter()
        self.crossings: Counter[str] = Counter()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Every function of PARTS is watched. Raises AttributeError for one that is no longer there."""
        undo: list[Callable[[], None]] = []
        try:
            for part, places in PARTS.items():
                undo += (self._watch(part, place) for place in places)
            yield
        finally:
            for each in reversed(undo):
                each()

    def _watch(self, part: str, place: str) -> Callable[[], None]:
        module, _, path = place.partition(":")
        *owners, name = path.split(".")
        owner = importlib.import_module(module)
        for each in owners:
            owner = getattr(owner, each)
        found = getattr(owner, name)
        inherited = inspect.isclass(owner) and name not in vars(owner)
        timed = (self._steps if inspect.isgeneratorfunction(found) else self._call)(part, place, found)
        # Classes and modules take it as they are; a frozen constant has to be made to.
        put = setattr if inspect.isclass(owner) or inspect.ismodule(owner) else object.__setattr__
        put(owner, name, timed)
        return (lambda: delattr(owner, name)) if inherited else (lambda: put(owner, name, found))

    def _call(self, part: str, place: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def timed(*arguments: Any, **options: Any) -> Any:
            self._enter(part, place)
            try:
                return function(*arguments, **options)
            finally:
                self._leave()

        return timed

    def _steps(self, part: str, place: str, function: Callable[..., Any]) -> Callable[..., Generator[Any]]:
        @wraps(function)
        def timed(*arguments: Any, **options: Any) -> Generator[Any]:
            steps = function(*arguments, **options)
            while True:
                self._enter(part, place)
                try:
                    step = next(steps)
                except StopIteration:
                    return
                finally:
                    self._leave()
                yield step

        return timed

    def _enter(self, part: str, place: str) -> None:
        self.crossings[place] += 1
        now = time.thread_time_ns()
        stack = self._stack()
        if stack:
            self.seconds[stack[-1][0]] += (now - stack[-1][1]) / 1e9
        stack.append([part, now])

    def _leave(self) -> None:
        now = time.thread_time_ns()
        stack = self._stack()
        part, since = stack.pop()
        self.seconds[part] += (now - since) / 1e9
        if stack:
            stack[-1][1] = now

    def _stack(self) -> list[list[Any]]:
        try:
            found: list[list[Any]] = self._of.stack
        except AttributeError:
            found = self._of.stack = []
        return found
