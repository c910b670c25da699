"""The grammar of source and sink URIs, and typed options (behaviour reference, sections 1.5 and 1.6).

    KEY[:REST]        influxdb:http://monitoring-influxdb:8086?db=k8s&retention=30d

REST first has `$VAR` and `${VAR}` replaced from the environment (an unset one is empty), then it is read as a URL whose
query parameters are the options; of a repeated option the first value counts.
"""

import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Self
from urllib.parse import parse_qsl, quote, unquote, unquote_plus, urlsplit

from collector.durations import format_duration, parse_duration_ns
from collector.errors import UsageError

BOOLEANS = {
    **dict.fromkeys(("1", "t", "T", "TRUE", "true", "True"), True),
    **dict.fromkeys(("0", "f", "F", "FALSE", "false", "False"), False),
}
"""Go's spellings of a boolean."""

SECRET_OPTIONS = frozenset({"pw", "pass", "password", "token", "secret", "writekey", "esUserSecret"})
"""Options whose values are never shown."""

MASK = "***"

# Go's os.Expand: a name, or one of the shell's special characters; a brace without its partner vanishes, a dollar sign
# before anything else stays.
_VARIABLE = re.compile(r"\$(?:\{([^}]*)\}|\{|([A-Za-z_]\w*|[0-9*#$@!?-]))", re.ASCII)

# What Go's URL parser refuses and Python's lets pass.
_NO_URL = re.compile(
    r"""
      [\x00-\x1f\x7f]                                     # a control character
    | ^ [^?]* % (?! [0-9a-fA-F]{2} )                      # half an escape before the query
    | ^ (?: [A-Za-z][A-Za-z0-9+.-]* : )? // [^/?\#]* [\s<>"]  # a blank in the authority
    | ^ (?! [A-Za-z][A-Za-z0-9+.-]* : ) [^/?\#]* :        # a host without scheme: 10.0.0.1:8086
    """,
    re.ASCII | re.VERBOSE,
)
_ADDRESS_KEYS = frozenset({"wavefront"})
"""Sinks whose REST is `host:port`: Go took the host for a scheme, and so refused one that starts with a digit (F20)."""

_USER_INFO = re.compile(r"//(?:[^=]*@|[^/?#]*@)")


def masked(argument: str) -> str:
    """An argument of the command line as it may be logged: without user names, passwords and secret options (F36).

    The argument need not be well-formed: what might belong to a secret is masked with it.
    """
    parts = re.split(r"([?&;])", _USER_INFO.sub(f"//{MASK}@", argument))
    secret = False
    for i in range(0, len(parts), 2):
        name, equals, _ = parts[i].partition("=")
        named = bool(equals) and unquote_plus(name) in SECRET_OPTIONS
        continued = secret and parts[i - 1] != "&"  # a password that was not escaped
        if named or continued:
            parts[i] = f"{name}={MASK}" if named else MASK
        secret = named or continued
    return "".join(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentUri:
    """One URI, taken apart. Parts that were not given are empty (`port` is None).

    The getters read one option each; they raise UsageError naming the component, option, value and what is allowed.
    """

    component: ClassVar[str] = "component"
    """`source` or `sink`: the word for messages, set by the subclass."""
    key: str
    scheme: str = ""
    user: str = ""
    password: str = field(default="", repr=False)
    host: str = ""
    port: int | None = None
    path: str = ""
    options: Mapping[str, Sequence[str]] = field(default_factory=dict, repr=False)
    """Option -> its values in order, never none."""
    _asked: set[str] = field(default_factory=set, repr=False, compare=False)

    @classmethod
    def parse(cls, text: str, environ: Mapping[str, str] = os.environ) -> Self:
        """Take `text` apart. Raises UsageError, which never repeats REST: it may hold a password."""
        key, _, rest = text.partition(":")
        if not key:
            raise UsageError(f"{cls.component} URI without a name: write NAME or NAME:REST")
        expanded = _VARIABLE.sub(lambda found: environ.get(found[1] or found[2] or "", ""), rest)
        try:
            if _NO_URL.search(expanded) and key not in _ADDRESS_KEYS:
                raise ValueError  # noqa: TRY301
            url = urlsplit(expanded)
            host, port = url.hostname or "", url.port
        except ValueError:
            raise UsageError(
                f"{cls.component} {key}: what follows `{key}:` is no URL: write it as scheme://host:port/path?option=value"
            ) from None
        options: dict[str, list[str]] = {}
        for name, value in parse_qsl(url.query, keep_blank_values=True):
            options.setdefault(name, []).append(value)
        return cls(
            key=key,
            scheme=url.scheme,
            user=unquote(url.username or ""),
            password=unquote(url.password or ""),
            host=host,
            port=port,
            path=unquote(url.path),
            options=options,
        )

    @property
    def address(self) -> str:
        """`host:port` as far as given, an IPv6 address in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port is None else f"{host}:{self.port}"

    def __str__(self) -> str:
        """The URI with its secrets masked: the only form to be printed."""
        rest = f"{self.scheme}://" if self.scheme else ""
        rest += f"{MASK}@" if self.user or self.password else ""
        rest += self.address + quote(self.path)
        shown = [
            f"{quote(name)}={MASK if name in SECRET_OPTIONS else quote(masked(value), safe='/:,@*?&=')}"
            for name, values in self.options.items()
            for value in values
        ]
        rest += f"?{'&'.join(shown)}" if shown else ""
        return f"{self.key}:{rest}" if rest else self.key

    # Options.

    def text(self, name: str, default: str = "") -> str:
        """Option `name` as it is."""
        self._asked.add(name)
        values = self.options.get(name)
        return values[0] if values else default

    def has(self, name: str) -> bool:
        """Whether option `name` is given."""
        self._asked.add(name)
        return name in self.options

    def boolean(self, name: str, *, default: bool = False) -> bool:
        """Option `name` as Go reads a boolean."""
        if not self.has(name):
            return default
        found = BOOLEANS.get(self.text(name))
        if found is None:
            raise self.fault(name, f"one of {', '.join(BOOLEANS)}")
        return found

    def integer(self, name: str, default: int, *, minimum: int, maximum: int) -> int:
        """Option `name` as a whole number within `minimum` and `maximum`, both allowed."""
        if not self.has(name):
            return default
        text = self.text(name)
        if not re.fullmatch(r"[+-]?\d{1,18}", text, re.ASCII) or not minimum <= int(text) <= maximum:
            raise self.fault(name, f"a whole number from {minimum} to {maximum}")
        return int(text)

    def duration_ns(self, name: str, default: int, *, minimum: int) -> int:
        """Option `name` as a duration in ns, at least `minimum`."""
        if not self.has(name):
            return default
        try:
            found = parse_duration_ns(self.text(name))
        except ValueError:
            found = -1
        if found < minimum:
            raise self.fault(name, f"a duration such as 500ms, 30s or 2h, at least {format_duration(minimum)}")
        return found

    def choice(self, name: str, allowed: Collection[str], default: str) -> str:
        """Option `name`, which must be one of `allowed`."""
        found = self.text(name, default)
        if found not in allowed:
            raise self.fault(name, f"one of {', '.join(allowed)}")
        return found

    def file(self, name: str) -> Path | None:
        """Option `name` as the path of a file that can be read now; None when it is not given."""
        if not self.has(name):
            return None
        path = Path(self.text(name))
        try:
            with path.open("rb"):
                return path
        except (OSError, ValueError) as error:
            raise self.fault(name, f"a file this process can read ({type(error).__name__})") from error

    def fault(self, name: str, allowed: str) -> UsageError:
        """The error to raise for a wrong value of option `name`."""
        value = MASK if name in SECRET_OPTIONS else repr(self.text(name))
        return UsageError(f"{self.component} {self.key}: option {name} is {value}; it must be {allowed}")

    def unknown(self) -> list[str]:
        """The options given that nobody has asked for."""
        return sorted(set(self.options) - self._asked)

    @property
    def known(self) -> list[str]:
        """The options asked for so far."""
        return sorted(self._asked)
