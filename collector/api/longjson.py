"""JSON answers that may be long: written in bites, so that no other request waits for them."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

from collector.api import jsontext
from collector.api.route import Document, Style

BITE = 1_000
"""Elements written between two looks at the event loop: some milliseconds."""


@dataclass(frozen=True, slots=True)
class Elements:
    """A JSON object: a list, which may be long, and what follows it."""

    name: str
    """Of the list."""
    count: int
    documents: Iterator[Document]
    """The list's elements, `count` of them; taken once."""
    rest: Mapping[str, Document]
    """The fields behind the list."""


async def long_object(elements: Elements, style: Style) -> AsyncIterator[bytes]:
    """The whole answer, in a route's style."""
    async for piece in _pieces(elements, style):
        yield piece.encode()
    if style is not Style.PRETTY:
        yield b"\n"


async def long_items(items: Iterable[Elements]) -> AsyncIterator[bytes]:
    """`{"items":[...]}` on one line."""
    opening = '{"items":['
    for item in items:
        yield opening.encode()
        async for piece in _pieces(item, Style.COMPACT):
            yield piece.encode()
        opening = ","
    yield b"]}\n"


async def _pieces(elements: Elements, style: Style) -> AsyncIterator[str]:
    outer, inner = (f"\n{jsontext.PREFIX}{' ' * depth}" if style is Style.PRETTY else "" for depth in (1, 2))
    colon = ": " if style is Style.PRETTY else ":"
    opening = f"{{{outer}{jsontext.string(elements.name)}{colon}["
    for start in range(0, elements.count, BITE):
        if start:
            await asyncio.sleep(0)
        texts = [inner + jsontext.nested(one, style, 2) for one in islice(elements.documents, BITE)]
        yield opening + ",".join(texts)
        opening = ","
    closing = outer + "]" if elements.count else f"{opening}]"
    closing += "".join(
        f",{outer}{jsontext.string(name)}{colon}{jsontext.nested(value, style, 1)}"
        for name, value in elements.rest.items()
    )
    yield f"{closing}{outer[:-1]}}}"
