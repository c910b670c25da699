"""What Kubernetes lets be a label's key or value, and how it says that something is not.

The words are those of apimachinery's `util/validation` as of Kubernetes 1.9: clients see them within refusals.
"""

import re
from typing import Final

NAME_LIMIT: Final = 63
"""Bytes of a label's value, and of its key behind the prefix."""

PREFIX_LIMIT: Final = 253
"""Bytes of the DNS name before the slash of a key."""

_NAME: Final = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_LABEL: Final = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN: Final = rf"{_LABEL}(\.{_LABEL})*"
_CHARACTERS: Final = (
    "consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"
)
_ALPHABET: Final = f"must {_CHARACTERS}"


def _form(rule: str, pattern: str, *examples: str) -> str:
    """A rule with examples, and the pattern that it was held against."""
    shown = " or ".join(f"'{example}', " for example in examples)
    return f"{rule} (e.g. {shown}regex used for validation is '{pattern}')"


_NAME_FORM: Final = _form(_ALPHABET, _NAME, "MyName", "my.name", "123-abc")
_VALUE_FORM: Final = _form(
    f"a valid label must be an empty string or {_CHARACTERS}", f"({_NAME})?", "MyValue", "my_value", "12345"
)
_PREFIX_FORM: Final = _form(
    "a DNS-1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', "
    "and must start and end with an alphanumeric character",
    _SUBDOMAIN,
    "example.com",
)
_TOO_MANY_SLASHES: Final = (
    f"a qualified name {_NAME_FORM} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
)


def key_faults(key: str) -> list[str]:
    """What is wrong with a label's key; nothing when it is one."""
    prefix, slash, name = key.rpartition("/")
    if "/" in prefix:
        return [_TOO_MANY_SLASHES]
    faults = []
    if slash and not prefix:
        faults.append("prefix part must be non-empty")
    elif slash:
        faults += [f"prefix part {fault}" for fault in _faults(prefix, PREFIX_LIMIT, _SUBDOMAIN, _PREFIX_FORM)]
    if not name:
        faults.append("name part must be non-empty")
    return faults + [f"name part {fault}" for fault in _faults(name, NAME_LIMIT, _NAME, _NAME_FORM)]


def value_faults(value: str) -> list[str]:
    """What is wrong with a label's value; nothing when it is one."""
    return _faults(value, NAME_LIMIT, f"({_NAME})?", _VALUE_FORM)


def _faults(text: str, limit: int, pattern: str, form: str) -> list[str]:
    faults = []
    if len(text.encode("utf-8", "surrogateescape")) > limit:
        faults.append(f"must be no more than {limit} characters")
    if not re.fullmatch(pattern, text):
        faults.append(form)
    return faults
