"""How a single function is measured: CPU seconds, best of several runs."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypedDict

RUNS = 5


@dataclass(frozen=True, slots=True)
class Function:
    """What to measure. `work` gets what `prepare` made anew before each run, which is not measured."""

    name: str
    on: str
    amount: float
    """How much one run handles, in `unit`."""
    unit: str
    work: Callable[[Any], object]
    prepare: Callable[[], object] = lambda: None
    beside: str = ""
    """Of a library's way: the function of ours that does the same."""


class Result(TypedDict):
    function: str
    on: str
    cpu_s: float
    """Best run."""
    runs_s: list[float]
    rate: float
    """Of the best run, `unit` a CPU second."""
    unit: str
    beside: str
    ratio: float
    """Of a library's way: how many times our rate is its; else 0."""


def measured(function: Function, runs: int = RUNS) -> Result:
    """CPU seconds of several runs."""
    times = []
    for _ in range(runs):
        given = function.prepare()
        began = time.process_time()
        function.work(given)
        times.append(time.process_time() - began)
        del given
    best = max(min(times), 1e-9)
    return Result(
        function=function.name,
        on=function.on,
        cpu_s=best,
        runs_s=times,
        rate=function.amount / best,
        unit=function.unit,
        beside=function.beside,
        ratio=0.0,
    )


def with_ratios(results: list[Result]) -> list[Result]:
    """The same; a library's way says how many times faster ours is."""
    rates = {result["function"]: result["rate"] for result in results}
    return [
        Result(**{**result, "ratio": rates[result["beside"]] / result["rate"]}) if result["beside"] in rates else result
        for result in results
    ]
