"""Label selectors: `tier in (web,db),!canary,rev>3`, read and applied as Kubernetes does.

    selector    = [ requirement { "," requirement } ]
    requirement = key | "!" key | key ("=" | "==" | "!=" | ">" | "<") value | key ("in" | "notin") "(" values ")"

Source: apimachinery's `labels/selector.go` as of Kubernetes 1.9, which Heapster was built with. Its words of refusal
are kept, since clients see them; so is what it lets through, such as `a in (b,,c)` and `a=` (an empty value), and that
`in` and `notin` may be keys and values.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final, NamedTuple

from collector.gotext import quoted
from collector.kube.validation import key_faults, value_faults

INT64_BOUND: Final = 2**63
_INTEGER: Final = re.compile("[+-]?[0-9]+")


class SelectorError(ValueError):
    """A text that is no selector; the message is Kubernetes' own."""


class Operator(Enum):
    """How a requirement relates its key to its values; the value is how it is written."""

    EXISTS = "exists"
    DOES_NOT_EXIST = "!"
    EQUALS = "="
    DOUBLE_EQUALS = "=="
    NOT_EQUALS = "!="
    IN = "in"
    NOT_IN = "notin"
    GREATER = ">"
    LESS = "<"


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition on one label."""

    key: str
    operator: Operator
    values: tuple[str, ...] = ()
    """Sorted, without duplicates; one for all operators but IN, NOT_IN and those that only ask for the key."""

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether an object with these labels meets it."""
        value = labels.get(self.key)
        match self.operator:
            case Operator.EXISTS:
                return value is not None
            case Operator.DOES_NOT_EXIST:
                return value is None
            case Operator.EQUALS | Operator.DOUBLE_EQUALS | Operator.IN:
                return value in self.values
            case Operator.NOT_EQUALS | Operator.NOT_IN:
                return value not in self.values
            case Operator.GREATER | Operator.LESS:
                number, bound = _int64(value or ""), _int64(self.values[0])
                if number is None or bound is None:
                    return False
                return number > bound if self.operator is Operator.GREATER else number < bound


@dataclass(frozen=True, slots=True)
class LabelSelector:
    """Requirements that must all be met; without any it selects everything."""

    requirements: tuple[Requirement, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.requirements)

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether an object with these labels is selected."""
        return all(requirement.matches(labels) for requirement in self.requirements)


EVERYTHING: Final = LabelSelector()


def parse(text: str) -> LabelSelector:
    """The selector that `text` writes; SelectorError when it writes none."""
    return LabelSelector(tuple(_Parser(text).requirements()))


class _Token(NamedTuple):
    kind: str
    """The symbol or keyword itself, IDENTIFIER, or END."""
    text: str


IDENTIFIER: Final = "identifier"
END: Final = ""

_SYMBOLS: Final = frozenset({")", ",", "!", "==", "=", ">", "in", "<", "!=", "notin", "("})
_WORDS: Final = frozenset({"in", "notin"})
_LEXEME: Final = re.compile(r"[ \t\r\n]*(?P<lexeme>==|!=|[=!(),<>]|[^=!(),<> \t\r\n\0]*)\0?")
"""A NUL ends what stands before it, and the whole text where a word would begin: Go's lexer reads it as the end."""

_OPERATORS: Final[Mapping[str, Operator]] = {
    operator.value: operator for operator in Operator if operator not in {Operator.EXISTS, Operator.DOES_NOT_EXIST}
}


def _tokens(text: str) -> Iterable[_Token]:
    """The tokens of `text`; the last one is END."""
    at = 0
    while True:
        found = _LEXEME.match(text, at)
        assert found is not None, "the pattern takes the empty text"
        lexeme, at = found["lexeme"], found.end()
        if not lexeme:
            yield _Token(END, "")
            return
        yield _Token(lexeme if lexeme in _SYMBOLS else IDENTIFIER, lexeme)


class _Parser:
    """Reads requirements from tokens, one look ahead."""

    def __init__(self, text: str) -> None:
        self._tokens = list(_tokens(text))
        self._at = 0

    def requirements(self) -> list[Requirement]:
        """All of them, sorted by key."""
        found: list[Requirement] = []
        token = self._next()
        while token.kind in {IDENTIFIER, "!"}:
            try:
                found.append(self._requirement())
            except SelectorError as error:
                raise SelectorError(f"unable to parse requirement: {error}") from None
            separator = self._take()
            if separator.kind == END:
                return sorted(found, key=lambda requirement: requirement.key)
            if separator.kind != ",":
                raise SelectorError(f"found '{separator.text}', expected: ',' or 'end of string'")
            token = self._next()
            if token.kind not in {IDENTIFIER, "!"}:
                raise SelectorError(f"found '{token.text}', expected: identifier after ','")
        if token.kind != END:
            raise SelectorError(f"found '{token.text}', expected: !, identifier, or 'end of string'")
        return found

    def _requirement(self) -> Requirement:
        token = self._take()
        negated = token.kind == "!"
        key = self._take() if negated else token
        if key.kind != IDENTIFIER:
            raise SelectorError(f"found '{key.text}', expected: identifier")
        _check(key.text, key_faults, "invalid label key ")
        if negated or self._next().kind in {END, ","}:
            return Requirement(key.text, Operator.DOES_NOT_EXIST if negated else Operator.EXISTS)
        operator = self._operator()
        if operator in {Operator.IN, Operator.NOT_IN}:
            values = self._values()
        else:
            values = {self._exact_value()}
            if operator in {Operator.GREATER, Operator.LESS} and None in map(_int64, values):
                raise SelectorError("for 'Gt', 'Lt' operators, the value must be an integer")
        for value in sorted(values, key=_bytes):
            _check(value, value_faults, "invalid label value: ")
        return Requirement(key.text, operator, tuple(sorted(values, key=_bytes)))

    def _operator(self) -> Operator:
        token = self._take(words=True)
        operator = _OPERATORS.get(token.kind)
        if operator is None:
            raise SelectorError(f"found '{token.text}', expected: '=', '!=', '==', 'in', notin'")
        return operator

    def _exact_value(self) -> str:
        if self._next().kind in {END, ","}:
            return ""
        token = self._take()
        if token.kind != IDENTIFIER:
            raise SelectorError(f"found '{token.text}', expected: identifier")
        return token.text

    def _values(self) -> set[str]:
        """The values between parentheses; `()` and a comma without a value beside it stand for the empty one."""
        opening = self._take()
        if opening.kind != "(":
            raise SelectorError(f"found '{opening.text}' expected: '('")
        first = self._next()
        if first.kind == ")":
            self._take()
            return {""}
        if first.kind not in {IDENTIFIER, ","}:
            raise SelectorError(f"found '{first.text}', expected: ',', ')' or identifier")
        values: set[str] = set()
        follower = first
        while follower.kind != ")":
            token = self._take()
            follower = self._next()
            if token.kind == IDENTIFIER:
                values.add(token.text)
                if follower.kind not in {",", ")"}:
                    raise SelectorError(f"found '{follower.text}', expected: ',' or ')'")
            elif token.kind == ",":
                if not values or follower.kind in {",", ")"}:
                    values.add("")
                if follower.kind == ",":
                    self._take()  # and so a parenthesis behind two commas is refused
            else:
                raise SelectorError(f"found '{token.text}', expected: ',', or identifier")
        self._take()
        return values

    def _next(self) -> _Token:
        """The next token, left where it is."""
        return self._read(self._at)

    def _take(self, *, words: bool = False) -> _Token:
        """The next token. `in` and `notin` are operators with `words`, identifiers otherwise."""
        self._at += 1
        return self._tokens[self._at - 1] if words else self._read(self._at - 1)

    def _read(self, at: int) -> _Token:
        token = self._tokens[min(at, len(self._tokens) - 1)]
        return _Token(IDENTIFIER, token.text) if token.kind in _WORDS else token


def _check(text: str, faults: Callable[[str], list[str]], name: str) -> None:
    found = faults(text)
    if found:
        raise SelectorError(f"{name}{quoted(text)}: {'; '.join(found)}")


def is_int64(text: str) -> bool:
    """Whether `text` writes an integer of 64 bits, as Go's strconv.ParseInt takes it."""
    return _int64(text) is not None


def _int64(text: str) -> int | None:
    """The integer that `text` writes, None when it writes none of 64 bits."""
    if not _INTEGER.fullmatch(text):
        return None
    number = int(text) if len(text) < 100 else INT64_BOUND
    return number if -INT64_BOUND <= number < INT64_BOUND else None


def _bytes(text: str) -> bytes:
    """What Go sorts by."""
    return text.encode("utf-8", "surrogateescape")
