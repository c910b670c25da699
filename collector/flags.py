"""Command lines as Heapster's flag library read them (behaviour reference, section 1.1): arguments to texts to values.

    --name=value  --name value     two dashes before a name of several letters; `_` and `-` are one
    -v=value  -v value  -vvalue    one dash before a single letter
    --name                         a boolean: true; it takes no value from the next argument
    --                             no flags behind it

Arguments that are no flags are passed over. What is wrong is collected, so that all of it is told at once; values are
not repeated where they may hold a secret.
"""

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from collector.durations import parse_duration_ns
from collector.uris import BOOLEANS, ComponentUri

BARE_KIND = "bool"
"""The kind of the flags that may stand without a value."""


@dataclass(slots=True)
class Scan:
    """A command line, taken apart."""

    texts: dict[str, list[str]] = field(default_factory=dict)
    """Name of a flag, with dashes -> the values given to it, in order."""
    faults: list[str] = field(default_factory=list)
    help: bool = False
    """Help was asked for; what follows was not looked at."""


def scan(arguments: Sequence[str], kinds: Mapping[str, str]) -> Scan:
    """Take `arguments` apart; `kinds` maps the name of each flag to its kind."""
    found, rest = Scan(), iter(arguments)
    for argument in rest:
        if argument == "--" or found.help:
            break
        if argument.startswith("--"):
            name, equals, value = argument[2:].partition("=")
            _take(found, f"--{name}", name.replace("_", "-"), value if equals else None, kinds, rest)
        elif argument.startswith("-") and argument != "-":
            name, value = argument[1], argument[2:]
            if name not in kinds and value:
                found.faults.append(f"-{name} is no flag; two dashes stand before a name of several letters")
            else:
                value = value[1:] if len(value) > 1 and value[0] == "=" else value
                _take(found, f"-{name}", name, value or None, kinds, rest)
    return found


def _take(
    found: Scan, spelled: str, name: str, value: str | None, kinds: Mapping[str, str], rest: Iterator[str]
) -> None:
    """One flag; `value` is None when none stands in the same argument."""
    if name not in kinds:
        if name in {"help", "h"}:
            found.help = True
        else:
            found.faults.append(f"{spelled} is no flag")
        return
    if value is None:
        value = "true" if kinds[name] == BARE_KIND else next(rest, None)
    if value is None:
        found.faults.append(f"{spelled} needs a value")
    else:
        found.texts.setdefault(name, []).append(value)


def value_of(kind: str, texts: Sequence[str]) -> Any:
    """The value of a flag given `texts`, at least one: of a single-valued flag the last one.

    Raises ValueError or UsageError for any of them that cannot be read.
    """
    if kind == "texts":
        return tuple(texts)
    if kind in _URI_KINDS:
        for text in texts:
            _URI_KINDS[kind].parse(text)
        return tuple(texts)
    if kind == "list":
        return tuple(part for text in texts for part in csv_record(text))
    return [_READERS[kind](text) for text in texts][-1]


class _SourceUri(ComponentUri):
    component = "source"


class _SinkUri(ComponentUri):
    component = "sink"


_URI_KINDS: Mapping[str, type[ComponentUri]] = {"source": _SourceUri, "sink": _SinkUri}

_FIELD = re.compile(r'"((?:[^"]|"")*)"|([^",\r\n]*)')


def csv_record(text: str) -> list[str]:
    """The fields of the first line of `text`, as Go reads CSV: a quote is either around a field or nowhere."""
    if not text:
        return []
    fields, at = [], 0
    while True:
        found = _FIELD.match(text, at)
        assert found is not None, "the second form matches nothing, too"
        fields.append(found[2] if found[1] is None else found[1].replace('""', '"'))
        at = found.end()
        if at == len(text) or text[at] in "\r\n":
            return fields
        if text[at] != ",":
            raise ValueError(f"{text!r} is no list: a quote belongs around a whole item, and twice inside of one")
        at += 1


_WHOLE = re.compile(r"[+-]?(?:0[xX][0-9a-fA-F]+|0[oO]?[0-7]+|0[bB][01]+|[1-9][0-9]*|0)")


def whole_number(text: str) -> int:
    """A whole number as Go's flags take it: decimal, 0x hexadecimal, 0 octal, 0b binary; 64 bits."""
    if not _WHOLE.fullmatch(text):
        raise ValueError(f"{text!r} is no whole number")
    digits = text.lstrip("+-")
    octal = len(digits) > 1 and digits[0] == "0" and digits[1].isdecimal()
    size = int(digits, 8) if octal else int(digits, 0)
    value = -size if text[0] == "-" else size
    if not -(2**63) <= value < 2**63:
        raise ValueError(f"{text!r} has more than 64 bits")
    return value


def _boolean(text: str) -> bool:
    if text not in BOOLEANS:
        raise ValueError(f"{text!r} is no boolean: write true or false")
    return BOOLEANS[text]


def _duration(text: str) -> int:
    return parse_duration_ns(text, days=False)


def _ip(text: str) -> str:
    try:
        if "%" in text:
            raise ValueError  # noqa: TRY301  # a zone, which Go does not take
        ipaddress.ip_address(text.strip())
    except ValueError:
        raise ValueError(f"{text!r} is no IP address") from None
    return text.strip()


def _decimal(text: str) -> int:
    if not re.fullmatch(r"[+-]?\d{1,18}", text, re.ASCII):
        raise ValueError(f"{text!r} is no whole number")
    return int(text)


def _severity(text: str) -> str:
    if text.upper() not in {"INFO", "WARNING", "ERROR", "FATAL"}:
        _decimal(text)
    return text


def _modules(text: str) -> str:
    for part in filter(None, text.split(",")):
        if not re.fullmatch(r"[^=]+=\+?\d+", part, re.ASCII):
            raise ValueError(f"{text!r} is no list of file=level")
    return text


def _place(text: str) -> str:
    if text and not re.fullmatch(r"[^:]*\.[^:]*:\+?0*[1-9]\d*", text, re.ASCII):
        raise ValueError(f"{text!r} is no place in a file, such as main.go:80")
    return text


_READERS: Mapping[str, Callable[[str], Any]] = {
    "text": str,
    "int": whole_number,
    "bool": _boolean,
    "duration": _duration,
    "ip": _ip,
    "level": _decimal,
    "severity": _severity,
    "modules": _modules,
    "place": _place,
}
"""Kinds of one value; beside them there are `texts`, `list`, `source` and `sink`."""
