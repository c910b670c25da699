"""`/debug/pprof`: what this process is doing, as far as a Python process can tell it (behaviour reference, 8.8).

The paths are Go's. What Go's runtime knows and Python's does not (blocked mutexes, created threads, a trace of its
scheduler) is refused by name; `profile` is Python's own format, for `python -m pstats`.
"""

import asyncio
import cProfile
import gc
import io
import marshal
import pstats
import re
import resource
import sys
import threading
import tracemalloc
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from http import HTTPStatus
from types import CodeType, FrameType
from typing import Any

from collector.api.route import (
    Answer,
    BadRequestError,
    Context,
    Handler,
    Request,
    RequestError,
    Route,
    Style,
    text_answer,
)
from collector.api.spec import TEXT, Parameter, Spec
from collector.uris import masked

ROOT = "/debug/pprof/"
"""With its slash: without it, a client is sent here."""

DEFAULT_SECONDS, MAX_SECONDS = 30, 60
"""How long a profile takes when nothing is said, as in Go, and at most."""

TOP = 60
"""Functions or allocation sites that a text shows."""

STACKS = 500
"""Different stacks that a text shows."""

_profiling = threading.Lock()
"""The interpreter has room for one profiler."""


def cmdline(_context: Context, _request: Request) -> Answer:
    """The arguments of the process, NUL between them; secrets in URIs are masked."""
    return text_answer("\0".join(map(masked, sys.argv)))


async def profile(_context: Context, request: Request) -> Answer:
    """Where the event loop spent its time during `seconds`: a file for `python -m pstats`, or text with `debug=1`.

    Only the event loop's thread is looked at; all but compression of files and directory listings happens there.
    """
    seconds = _seconds(request)
    if not _profiling.acquire(blocking=False):
        raise RequestError("a profile is being taken already, one at a time: try again when it is done", 409)
    profiler = cProfile.Profile()
    try:
        profiler.enable()
        try:
            await asyncio.sleep(seconds)
        finally:
            profiler.disable()
    finally:
        _profiling.release()
    if request.argument("debug") not in {"", "0"}:
        text = io.StringIO()
        pstats.Stats(profiler, stream=text).strip_dirs().sort_stats("tottime").print_stats(TOP)
        return text_answer(text.getvalue())
    profiler.create_stats()
    stats: dict[Any, Any] = profiler.stats  # what dump_stats writes
    attached = {"Content-Disposition": 'attachment; filename="profile"'}
    return Answer(marshal.dumps(stats), "application/octet-stream", headers=attached)


def _seconds(request: Request) -> int:
    text = request.argument("seconds") or str(DEFAULT_SECONDS)
    if not re.fullmatch("[0-9]{1,4}", text) or not 1 <= int(text) <= MAX_SECONDS:
        raise BadRequestError(f"seconds is {text[:40]!r}; it must be a whole number from 1 to {MAX_SECONDS}")
    return int(text)


def symbol(_context: Context, _request: Request) -> Answer:
    """`num_symbols: 0`: a Python process has no addresses to look up, and no profile of it asks for any."""
    return text_answer("num_symbols: 0\n")


def goroutine(_context: Context, _request: Request) -> Answer:
    """Every task of the event loop and every thread with its stack; equal ones once, with their number."""
    tasks = Counter(tuple(_awaiting(task)) for task in asyncio.all_tasks())
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    frames = sys._current_frames()  # noqa: SLF001 - the documented way to every thread's stack
    lines = [f"{tasks.total()} tasks, {len(frames)} threads"]
    for stack, count in tasks.most_common(STACKS):
        lines += ["", f"{count} task{'s' if count > 1 else ''}", *stack]
    if len(tasks) > STACKS:
        lines += ["", f"{len(tasks) - STACKS} more kinds of stacks are not shown"]
    for ident, frame in list(frames.items())[:STACKS]:
        lines += ["", f"thread {names.get(ident, ident)}", *_stack(frame)]
    return text_answer("\n".join(lines) + "\n")


def _awaiting(task: "asyncio.Task[Any]") -> Iterator[str]:
    """The coroutines of a task, outermost first: each waits for the next."""
    waiting: Any = task.get_coro()
    while waiting is not None:
        for kind in ("cr", "ag", "gi"):
            frame = getattr(waiting, f"{kind}_frame", None)
            if frame is not None:
                yield _place(frame.f_code, frame.f_lineno)
                waiting = getattr(waiting, "gi_yieldfrom" if kind == "gi" else f"{kind}_await")
                break
        else:
            return


def _stack(frame: FrameType | None) -> Iterator[str]:
    """A thread's calls, innermost first."""
    while frame is not None:
        yield _place(frame.f_code, frame.f_lineno)
        frame = frame.f_back


def _place(code: CodeType, line: int) -> str:
    return f"#\t{code.co_qualname}\t{code.co_filename}:{line}"


def heap(_context: Context, _request: Request) -> Answer:
    """Memory: peak, Python's blocks, the garbage collector's books; sites of allocation when they are traced."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    lines = [
        f"peak resident memory: {peak * (1 if sys.platform == 'darwin' else 1024)} bytes",
        f"blocks allocated by Python: {sys.getallocatedblocks()}",
        f"objects set aside as permanent: {gc.get_freeze_count()}",
    ]
    for generation, (count, books) in enumerate(zip(gc.get_count(), gc.get_stats(), strict=True)):
        numbers = ", ".join(f"{books[name]} {name}" for name in ("collections", "collected", "uncollectable"))
        lines.append(f"garbage collector, generation {generation}: {count} new, {numbers}")
    if tracemalloc.is_tracing():
        lines.append("allocated and still in use, by line:")
        lines += map(str, tracemalloc.take_snapshot().statistics("lineno")[:TOP])
    else:
        lines.append("sites of allocation are not traced; start the process with PYTHONTRACEMALLOC=1 to have them here")
    return text_answer("\n".join(lines) + "\n")


PROFILES: dict[str, Callable[[Context, Request], Answer | Awaitable[Answer]]] = {
    "cmdline": cmdline,
    "profile": profile,
    "symbol": symbol,
    "goroutine": goroutine,
    "heap": heap,
}
"""Name below ROOT -> handler."""


def unknown(_context: Context, request: Request) -> Answer:
    """404: what is no profile, or one that only Go's runtime has."""
    names = ", ".join(PROFILES)
    text = f"no profile {request.params['profile']!r} here: the process runs on Python, which has {names}\n"
    return text_answer(text, HTTPStatus.NOT_FOUND)


_SECONDS = Parameter(
    "seconds",
    "How long to look, in seconds.",
    {"type": "integer", "minimum": 1, "maximum": MAX_SECONDS, "default": DEFAULT_SECONDS},
)
_DEBUG = Parameter("debug", "1 for text.", {"enum": ["0", "1"]})
_SPECS = {"profile": Spec(query=(_SECONDS, _DEBUG), errors=(400, 409), content=("application/octet-stream", TEXT))}


def _route(name: str, handler: Handler, spec: Spec) -> Route:
    return Route("GET", ROOT + name, handler, Style.PLAIN, "pprof", spec)


ROUTES: tuple[Route, ...] = (
    *(_route(name, handler, _SPECS.get(name, Spec(content=(TEXT,)))) for name, handler in PROFILES.items()),
    _route("{profile:*}", unknown, Spec(content=(TEXT,), status=404)),
)
