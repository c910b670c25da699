"""The kubelet's light endpoint (`/metrics/resource`), Prometheus text to columns. Pure.

    container_cpu_usage_seconds_total{container="web",namespace="default",pod="web-1"} 4.710169 1795399377660
    container_memory_working_set_bytes{container="web",namespace="default",pod="web-1"} 1.7498112e+07 1795399377660
    container_start_time_seconds{container="web",namespace="default",pod="web-1"} 1.7953986791202116e+09

A kubelet writes family by family, each behind its `# TYPE` line, and in each the same containers in the same order;
from one answer to the next little but the numbers changes. So a family is cut into label texts and numbers by a few
calls that run in C, and label texts are read only when they, or their order, are others than before (`Layout`). Text in
any other form that Prometheus allows is read line by line.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Final, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from collector.core.light import CPU, MEMORY, SAMPLED, START, SWAP, TIME, LightSample, Names
from collector.core.sample import ABSENT
from collector.errors import DecodeError
from collector.sources.promtext import read_labels

CONTAINERS: Final[Mapping[bytes, int]] = {
    b"container_cpu_usage_seconds_total": CPU,
    b"container_memory_working_set_bytes": MEMORY,
    b"container_start_time_seconds": START,
    b"container_swap_usage_bytes": SWAP,
}
"""Family -> the field of containers it fills."""

NODE: Final[Mapping[bytes, int]] = {
    b"node_cpu_usage_seconds_total": CPU,
    b"node_memory_working_set_bytes": MEMORY,
    b"node_swap_usage_bytes": SWAP,
}
ERRORS: Final = (b"scrape_error", b"resource_scrape_error")
"""1 when the kubelet could not read its statistics; the name changed with Kubernetes 1.29."""

_FAMILIES: Final = frozenset([*CONTAINERS, *NODE, *ERRORS])

EXACT_BELOW: Final = 2.0**22
"""Seconds: below, a float64 is nearer to its decimal text than a quarter of a nanosecond."""

_CPU: Final = b"container_cpu_usage_seconds_total"
_STARTS: Final = b"container_start_time_seconds"
_NANO: Final = 10**9
_MOST_SECONDS: Final = float(2**63 // _NANO - 1)
_MOST_MS: Final = 2**63 // 10**6 - 1
_MOST: Final = 2.0**63
_NEWLINE: Final = 10
_TIME_DIGITS: Final = 13
"""Of milliseconds since 1970, from 2001 to 2286."""

_LINE: Final = re.compile(rb"[ \t]*([a-zA-Z_:][a-zA-Z0-9_:]*)[ \t]*(?:\{(.*)\})?[ \t]*([^{}]*)")
_USUAL: Final = re.compile(
    r"^container=%s,namespace=%s,pod=%s$" % ((r'"([^"\\\n]{1,1024})"',) * 3),
    re.MULTILINE,
)
_TIME: Final = re.compile(rb"-?[0-9]{1,18}")

T = TypeVar("T")


class Form(NamedTuple):
    """What is known of answers that differ in numbers only."""

    key: bytes
    """A hash of all the rest."""
    places: NDArray[np.int32]
    """Where in (1 + containers, SAMPLED) values each number of such an answer belongs."""


@dataclass(slots=True, eq=False)
class Layout:
    """The containers of an answer, their order in each family, and when they started.

    All but `form`, which `resourceforms` finds out, stays as it was made.
    """

    keys: Mapping[bytes, int]
    """Family -> 64-bit keyed hash of its label texts in order, of START's whole text: the texts take 30 KB a node."""
    places: Mapping[bytes, NDArray[np.intp] | None]
    """Family -> the position of each of its samples among the containers, -1 for none; None: they are the same."""
    starts: NDArray[np.int64]
    """(containers,), ns; 0 where the kubelet does not say."""
    form: Form | None = None
    """Of answers that can be read many at once; None: none is known."""


@dataclass(slots=True, eq=False)
class Family:
    """The samples of one family: names with label texts and, in the same order, what follows them."""

    keys: list[bytes]
    words: list[bytes]
    """Value and time of each sample; of START, which has no time, the value."""

    def __hash__(self) -> int:
        return hash((*self.keys, *self.words))


def decode_resource(body: bytes, node: str, read_at: int, before: object | None = None) -> LightSample:
    """The answer of `node`, read at `read_at` (ns since the epoch), which is the time of samples without a time.

    `before` is the layout of the node's answer before; it saves work and changes nothing. Raises DecodeError when there
    is no CPU sample of the node or of a container, and when the kubelet says that it could not read its statistics.
    """
    found = _sections(body)
    sample = None if found is None else _sampled(found, _cut, node, before)
    if sample is None:
        sample = _sampled(_plain(body, read_at), _as_read, node, before)
    assert sample is not None, "what was read line by line has no form left to be wrong"
    return sample


def _sections(body: bytes) -> dict[bytes, bytes] | None:
    """The text of each family, from its `# TYPE` on, in the form that kubelets write; None for any other form."""
    found: dict[bytes, bytes] = {}
    at = body.find(b"#")
    if at != 0:
        return None
    while at >= 0:
        following = body.find(b"#", at + 1)
        end = following if following >= 0 else len(body)
        if body[end - 1] != _NEWLINE:
            return None
        if body.startswith(b"# TYPE ", at):
            name = body[at + 7 : body.find(b" ", at + 7, end)]
            first = body.find(b"\n", at) + 1
            # A name that is cut short, or missing, would hide samples: the first one tells.
            if name in found or (first < end and body[first : first + len(name) + 1] not in {name + b"{", name + b" "}):
                return None
            if name in _FAMILIES:
                found[name] = body[at:end]
        elif not body.startswith(b"# HELP ", at) or body.find(b"\n", at, end) != end - 1:
            return None
        at = following
    return found


def _cut(name: bytes, section: bytes) -> Family | None:
    """A family's label texts and numbers; None where its form is another one."""
    parts = section.replace(b"}", b"\n").split(b"\n")
    if name in CONTAINERS:
        keys, numbers = parts[1:-1:2], parts[2::2]
        # That names, braces and labels are where they seem to be is looked at when the label texts are new.
        if len(parts) % 2 or len(keys) != len(numbers):
            return None
        text = b"".join(numbers)
        if b"_" in text:  # which Python takes for a number's separator
            return None
        words = text.split()
        if name != _STARTS:
            times = b"".join(words[1::2])
            if len(times) != _TIME_DIGITS * len(keys) or not times.isdigit():
                return None
        return Family(keys, words)
    words = parts[1][len(name) :].split()
    if len(parts) != 3 or not parts[1].startswith(name + b" ") or not 1 <= len(words) <= 2:
        return None
    return Family(parts[1:2], words) if _number(words[0]) is not None else None


def _as_read(_name: bytes, family: Family) -> Family:
    return family


def _plain(body: bytes, read_at: int) -> dict[bytes, Family]:
    """The families of any text, line by line; a line that cannot be read is left out, one without a time gets one."""
    now = b"%d" % (read_at // 1_000_000)
    families: dict[bytes, tuple[list[bytes], list[bytes]]] = {}
    for line in body.split(b"\n"):
        match = _LINE.fullmatch(line.rstrip(b"\r"))
        if match is None or match[1] not in _FAMILIES:
            continue
        name, labels, words = match[1], match[2] or b"", match[3].split()
        stamp = words[1] if len(words) == 2 else now
        if not 1 <= len(words) <= 2 or _number(words[0]) is None or _TIME.fullmatch(stamp) is None:
            continue
        of_containers = name in CONTAINERS
        if of_containers and _names(labels) is None:
            continue
        keys, numbers = families.setdefault(name, ([], []))
        if not of_containers:  # of two, the later counts
            keys.clear()
            numbers.clear()
        keys.append(name + b"{" + labels)
        numbers += words[:1] if CONTAINERS.get(name) == START else (words[0], stamp)
    return {name: Family(keys, numbers) for name, (keys, numbers) in families.items()}


def _sampled(
    found: Mapping[bytes, T], cut: Callable[[bytes, T], Family | None], node: str, before: object | None
) -> LightSample | None:
    """The sample; None where the text is not in the form that it seemed to have."""
    known = before if isinstance(before, Layout) else None
    starts = found.get(_STARTS)
    keys = {} if starts is None else {_STARTS: hash(starts)}
    same_starts = known is not None and known.keys.get(_STARTS) == keys.get(_STARTS)
    families: dict[bytes, Family] = {}
    for name, text in found.items():
        if name == _STARTS and same_starts:
            continue
        family = cut(name, text)
        if family is None:
            return None
        families[name] = family
        if name in CONTAINERS and name != _STARTS:
            keys[name] = hash(b"\n".join(family.keys))
    for name in ERRORS:
        if name in families and _number(families[name].words[0]):
            raise DecodeError(f"the kubelet could not read its own statistics ({name.decode()} is not 0)")
    names: Names | None = None
    if known is None or known.keys != keys:
        if starts is not None and _STARTS not in families:
            return _sampled(found, cut, node, None)
        placed = _placed(families, keys)
        if placed is None:
            return None
        known, names = placed
    values = _values(families, known)
    return None if values is None else LightSample(node, known, names, values)


def _values(families: Mapping[bytes, Family], layout: Layout) -> NDArray[np.int64] | None:
    """(SAMPLED, 1 + containers) for a sample. Raises DecodeError when there is nothing in it."""
    values = np.full((SAMPLED, 1 + layout.starts.size), ABSENT, np.int64)
    values[TIME : START + 1] = 0
    values[START, 1:] = layout.starts
    for name, family in families.items():
        if name in NODE:
            if not _fill_node(values, NODE[name], family.words):
                return None
        elif (
            name in CONTAINERS
            and name != _STARTS
            and not fill(values[:, 1:], CONTAINERS[name], family, layout.places[name])
        ):
            return None
    if not (values[CPU] >= 0).any():
        raise DecodeError("the answer has no CPU sample of the node nor of any container")
    values[TIME, values[CPU] < 0] = 0
    return values


def _placed(families: Mapping[bytes, Family], keys: Mapping[bytes, int]) -> tuple[Layout, Names] | None:
    """Where the samples of each family belong, and the names of the containers: those that have used CPU."""
    texts: dict[bytes, list[bytes]] = {}
    for family in CONTAINERS.keys() & families.keys():
        prefix = family + b"{"
        if not all(key.startswith(prefix) for key in families[family].keys):
            return None
        texts[family] = [key[len(prefix) :] for key in families[family].keys]
    own = texts.get(_CPU, [])
    names = names_of(own)
    if names is None:
        return None
    by_text = {text: at for at, text in enumerate(own)}
    by_name = {name: at for at, name in enumerate(names)}
    places: dict[bytes, NDArray[np.intp] | None] = {}
    for family, here in texts.items():
        if here == own:
            places[family] = None
            continue
        found = []
        for text in here:
            at = by_text.get(text)
            if at is None:
                name = _names(text)
                if name is None:
                    return None
                at = by_name.get(name, -1)
            found.append(at)
        places[family] = np.array(found, np.intp)
    starts = np.zeros((SAMPLED, len(names)), np.int64)
    if _STARTS in families and not fill(starts, START, families[_STARTS], places[_STARTS]):
        return None
    return Layout(keys, places, np.maximum(starts[START], 0)), names


def names_of(texts: list[bytes]) -> list[tuple[str, str, str]] | None:
    """The names in label texts; None where one is missing. As kubelets write them, all are read in one go."""
    try:
        found = [
            (namespace, pod, container) for container, namespace, pod in _USUAL.findall(b"\n".join(texts).decode())
        ]
    except UnicodeDecodeError:
        found = []
    if len(found) == len(texts):  # a text without a line feed has one line, which matches as a whole or not at all
        return found
    read = [_names(text) for text in texts]
    names = [each for each in read if each is not None]
    return names if len(names) == len(read) else None


def _names(labels: bytes) -> tuple[str, str, str] | None:
    """Namespace, pod and container; None where one is missing, or the text is no list of labels."""
    read = read_labels(labels)
    if read is None:
        return None
    names = read.get("namespace", ""), read.get("pod", ""), read.get("container", "")
    return names if all(0 < len(name) <= 1024 for name in names) else None


def fill(
    values: NDArray[np.int64], field: int, family: Family, places: NDArray[np.intp] | NDArray[np.int32] | None
) -> bool:
    """Put a family's numbers into its field, those of CPU with their times; False where they are no such numbers."""
    count, words, width = len(family.keys), family.words, 1 if field == START else 2
    if len(words) != width * count:
        return False
    if field == SWAP and places is None and words[::2].count(b"0") == count:
        values[SWAP] = 0  # as nearly always, and seen in a third of the time
        return True
    try:
        read = list(map(float, words[::width]))
        times = list(map(int, words[1::2])) if field == CPU else []
    except ValueError:
        return False
    at = slice(None) if places is None else places[places >= 0]
    counting = slice(None) if places is None else places >= 0
    if field not in {CPU, START}:
        values[field, at] = _whole(read)[counting]
        return True
    amounts = _nanoseconds(read)
    if field == CPU:
        if read and max(read) >= EXACT_BELOW:
            for large in np.flatnonzero((np.array(read) >= EXACT_BELOW) & (amounts >= 0)).tolist():
                amounts[large] = _exactly(words[2 * large])
        if times and (min(times) < 0 or max(times) > _MOST_MS):
            amounts[[not 0 <= time <= _MOST_MS for time in times]] = ABSENT
            times = [time if 0 <= time <= _MOST_MS else 0 for time in times]
        values[TIME, at] = (np.array(times, np.int64) * 1_000_000)[counting]
    values[field, at] = amounts[counting]
    return True


def _fill_node(values: NDArray[np.int64], field: int, words: list[bytes]) -> bool:
    """The same for a value of the node, which is alone in its family."""
    value = _number(words[0]) if len(words) == 2 else None
    if value is None or _TIME.fullmatch(words[1]) is None:
        return False
    time = int(words[1])
    if field != CPU:
        values[field, 0] = int(value) if 0 <= value < _MOST else ABSENT
    elif 0 <= value < _MOST_SECONDS and 0 <= time <= _MOST_MS:
        values[CPU, 0], values[TIME, 0] = _exactly(words[0]), time * 1_000_000
    return True


def _nanoseconds(read: list[float]) -> NDArray[np.int64]:
    """Seconds as nanoseconds, exact below EXACT_BELOW; ABSENT where negative, too large or no number."""
    seconds = np.array(read, np.float64)
    good = None if _regular(read, _MOST_SECONDS) else (seconds >= 0) & (seconds < _MOST_SECONDS)
    cut = seconds if good is None else np.where(good, seconds, 0.0)
    whole = np.floor(cut)
    # Taking the whole seconds away rounds nothing, so what is left is off by half a step of `cut` at most.
    amounts: NDArray[np.int64] = whole.astype(np.int64) * _NANO + np.rint((cut - whole) * 1e9).astype(np.int64)
    if good is not None:
        amounts[~good] = ABSENT
    return amounts


def _whole(read: list[float]) -> NDArray[np.int64]:
    """Whole numbers; ABSENT where negative, too large or no number."""
    amounts = np.array(read, np.float64)
    if _regular(read, _MOST):
        return amounts.astype(np.int64)
    return np.where((amounts >= 0) & (amounts < _MOST), amounts, ABSENT).astype(np.int64)


def _regular(read: list[float], most: float) -> bool:
    """Whether all are numbers from 0 to `most`, as nearly always. A NaN hides from `min` and `max`, not from `sum`."""
    return not read or (min(read) >= 0 and max(read) < most and sum(read) < math.inf)


def _exactly(text: bytes) -> int:
    return int(Decimal(text.decode()).scaleb(9).to_integral_value(ROUND_HALF_EVEN))


def _number(text: bytes) -> float | None:
    try:
        return None if b"_" in text else float(text)
    except ValueError:
        return None
