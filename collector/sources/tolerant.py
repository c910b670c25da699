"""Decoding what a strict decoder refused: the offending fields are left out, their neighbours are kept.

The slow path. It runs only for answers with a null, a negative number or another breach, and says what it left out.
"""

import json
import math
import sys
from typing import Any, Generic, NoReturn, TypeVar

from msgspec import inspect

from collector.core.sample import ABSENT
from collector.errors import DecodeError
from collector.sources.limits import too_deep

MAX_FAULTS = 16
"""Breaches described for one answer; more are only counted."""

_MISFIT = object()

_ABSENT = {inspect.IntType: ABSENT, inspect.FloatType: math.nan}
"""What a field becomes whose number does not fit. Not its default: that of a missing number may be a true zero."""

T = TypeVar("T")


class Tolerant(Generic[T]):
    """Decodes JSON into the struct type (or dictionary of such) `document`, leaving out what does not fit.

    A field that does not fit is left out when it has a default; otherwise its whole object is, and so on upward. An
    element of a list or dictionary that does not fit is left out of it. A number that does not fit is ABSENT, or NaN
    where a float is wanted. Null is the same as missing, as in Kubernetes' own decoder. Text that is no Unicode (a
    broken UTF-8 sequence, half a surrogate pair) does not fit.
    """

    def __init__(self, document: type[T]) -> None:
        self._type = inspect.type_info(document)

    def decode(self, body: bytes) -> tuple[T, list[str]]:
        """The document and what was left out of it, one sentence each, at most MAX_FAULTS and a count of the rest.

        Raises DecodeError when `body` is no JSON or not even its required fields fit.
        """
        try:
            # The standard library's decoder: it alone takes numbers of any size, which msgspec refuses whole. Bytes
            # that are no UTF-8 become half surrogate pairs, so that only the text they stand in is refused.
            tree = json.loads(body.decode("utf-8", "surrogateescape"), parse_int=_integer, parse_constant=_no_constant)
        except RecursionError as error:
            raise too_deep() from error
        except ValueError as error:
            raise DecodeError(f"the answer is no JSON document: {error}") from error
        faults: list[str] = []
        document: Any = _fit(tree, self._type, "$", faults)
        if document is _MISFIT:
            raise DecodeError(f"the answer lacks what every answer must have: {faults[-1]}")
        if len(faults) > MAX_FAULTS:
            faults[MAX_FAULTS:] = [f"{len(faults) - MAX_FAULTS} more"]
        return document, faults


def _integer(digits: str) -> int | float:
    """An integer; infinity for one too long for any count, which `int` would refuse beyond 4,300 digits."""
    return int(digits) if len(digits) < 400 else math.inf


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


def _fit(value: Any, wanted: inspect.Type, path: str, faults: list[str]) -> Any:
    """`value` as `wanted`, or _MISFIT with the reason appended to `faults`."""
    match wanted:
        case inspect.StructType():
            return _fit_object(value, wanted, path, faults)
        case inspect.ListType():
            if isinstance(value, list):
                fitted = [_fit(item, wanted.item_type, f"{path}[{i}]", faults) for i, item in enumerate(value)]
                return [item for item in fitted if item is not _MISFIT]
        case inspect.DictType():
            if isinstance(value, dict):
                return _fit_dictionary(value, wanted, path, faults)
        case inspect.UnionType():  # only `X | None` occurs
            return None if value is None else _fit(value, wanted.types[0], path, faults)
        case _:
            if _is_scalar(value, wanted):
                return float(value) if isinstance(wanted, inspect.FloatType) else value
    faults.append(f"{path} is {_shown(value)}")
    return _MISFIT


def _is_scalar(value: Any, wanted: inspect.Type) -> bool:
    """Whether `value` is a number, text or truth value as wanted."""
    match wanted:
        case inspect.BoolType():
            return isinstance(value, bool)
        case inspect.IntType():
            low, high = -math.inf if wanted.ge is None else wanted.ge, math.inf if wanted.le is None else wanted.le
            return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
        case inspect.FloatType():
            return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
        case inspect.StrType():
            return isinstance(value, str) and _is_text(value, wanted)
        case _:
            return False


def _is_text(value: str, wanted: inspect.StrType) -> bool:
    if not (wanted.min_length or 0) <= len(value) <= (wanted.max_length or math.inf):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:  # half a surrogate pair
        return False
    return True


def _fit_dictionary(value: dict[str, Any], wanted: inspect.DictType, path: str, faults: list[str]) -> dict[str, Any]:
    fitted = {}
    for key, item in value.items():
        here = f"{path}[{_shown(key)}]"
        one = _MISFIT if item is None else _fit(item, wanted.value_type, here, faults)
        if one is not _MISFIT and _fit(key, wanted.key_type, here, faults) is not _MISFIT:
            fitted[key] = one
    return fitted


def _fit_object(value: Any, wanted: inspect.StructType, path: str, faults: list[str]) -> Any:
    if not isinstance(value, dict):
        faults.append(f"{path} is {_shown(value)}")
        return _MISFIT
    fields: dict[str, Any] = {}
    for field in wanted.fields:
        given = value.get(field.encode_name)
        fitted = _MISFIT if given is None else _fit(given, field.type, f"{path}.{field.encode_name}", faults)
        if fitted is not _MISFIT:
            fields[field.name] = fitted
        elif given is not None and type(field.type) in _ABSENT:
            fields[field.name] = _ABSENT[type(field.type)]
        elif field.required:
            if given is None:
                faults.append(f"{path}.{field.encode_name} is missing")
            return _MISFIT
    return wanted.cls(**fields)


def _shown(value: Any) -> str:
    match value:
        case None:
            return "null"
        case dict():
            return "an object"
        case list():
            return "a list"
        case str():
            value = value[:40]  # before repr, which would copy megabytes
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."
