"""The names and labels of entities as integer codes, kept from tick to tick.

A label set is asked for once per entity and change, not once per tick: with 100,000 entities that is the difference
between a second of Python and nothing.
"""

import asyncio
from collections.abc import Hashable
from typing import Any, Generic, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from collector.core.batch import DataBatch
from collector.core.entities import EntityTable
from sinks.history.arrow import NONE, ArrowArray, Codes, text_array, text_ranks
from sinks.history.schema import ATTRIBUTES, IDENTITY

CHUNK = 512
"""Entities looked at before the event loop gets a turn (about 5 ms)."""

SLACK = 4096
"""Words a vocabulary may hold in vain before it is cut down."""

COLUMNS = (*IDENTITY, *ATTRIBUTES)

_KNOWN = frozenset(COLUMNS)

Word = TypeVar("Word", bound=Hashable)


class Vocabulary(Generic[Word]):
    """The different values of one column, each known by its code, the position in `words`."""

    def __init__(self) -> None:
        self.words: list[Word] = []
        self._codes: dict[Word, int] = {}

    def __len__(self) -> int:
        return len(self.words)

    def code(self, word: Word) -> int:
        """The code of `word`, given out now if it is new."""
        found = self._codes.get(word)
        if found is None:
            found = self._codes[word] = len(self.words)
            self.words.append(word)
        return found

    def keep(self, used: NDArray[Any]) -> Codes:
        """Forget all words but those with the codes `used` (ascending); old code -> new code."""
        moved = np.full(len(self.words), NONE, np.int32)
        moved[used] = np.arange(used.size)
        self.words = [self.words[code] for code in used.tolist()]
        self._codes = {word: code for code, word in enumerate(self.words)}
        return moved


class TextVocabulary(Vocabulary[str]):
    """Text, which is also had as an Arrow array and in order."""

    def __init__(self) -> None:
        super().__init__()
        self._array: ArrowArray = pa.array([], pa.string())
        self._ranks: Codes = np.empty(0, np.int32)

    def keep(self, used: NDArray[Any]) -> Codes:
        """As for any vocabulary."""
        self._array = pa.array([], pa.string())
        self._ranks = np.empty(0, np.int32)
        return super().keep(used)

    @property
    def array(self) -> ArrowArray:
        """All words, by code."""
        if len(self._array) < len(self.words):
            self._array = pa.concat_arrays([self._array, text_array(self.words[len(self._array) :])])
        return self._array

    @property
    def ranks(self) -> Codes:
        """Code -> place in byte order, from 1 on; the last element, which NONE finds, is 0."""
        if self._ranks.size != len(self.words) + 1:
            self._ranks = text_ranks(self.array)
        return self._ranks


class EntityNames:
    """Codes of the identity and attributes of every row of one entity table.

    `codes` is (len(COLUMNS), capacity) int32 into `texts`, NONE where the entity has no such label; `stored` is
    (capacity,) int32 into `extras`, the sets of further labels, NONE for none.
    """

    def __init__(self, entities: EntityTable) -> None:
        self.entities = entities
        self.texts = [TextVocabulary() for _ in COLUMNS]
        self.extras: Vocabulary[tuple[tuple[str, str], ...]] = Vocabulary()
        self.codes: Codes = np.empty((len(COLUMNS), 0), np.int32)
        self.stored: Codes = np.empty(0, np.int32)
        self._versions: NDArray[np.int64] = np.empty(0, np.int64)

    async def follow(self, batch: DataBatch) -> None:
        """Bring the codes of the batch's rows up to date; on the event loop, with turns for others."""
        self._grow(batch.rows)
        stale = self._versions[: batch.rows] != self.entities.label_version[: batch.rows]
        rows = np.flatnonzero(stale & batch.exists[: batch.rows])
        for start in range(0, rows.size, CHUNK):
            if start:
                await asyncio.sleep(0)
            for row in rows[start : start + CHUNK].tolist():
                self._learn(row)

    def trim(self, batch: DataBatch) -> None:
        """Forget words of entities that are gone, once they are many."""
        alive = np.count_nonzero(batch.exists)
        vocabularies: list[Vocabulary[Any]] = [*self.texts, self.extras]
        if max(map(len, vocabularies)) <= 2 * alive + SLACK:
            return
        gone = np.ones(self.stored.size, np.bool_)
        gone[: batch.rows] = ~batch.exists[: batch.rows]
        self._versions[gone] = NONE
        for vocabulary, codes in zip(vocabularies, (*self.codes, self.stored), strict=True):
            codes[gone] = NONE
            moved = np.append(vocabulary.keep(np.unique(codes[codes != NONE])), np.int32(NONE))
            codes[:] = moved[codes]

    def _learn(self, row: int) -> None:
        labels = self.entities.label_set(row)
        for column, (name, vocabulary) in enumerate(zip(COLUMNS, self.texts, strict=True)):
            text = labels.get(name)
            self.codes[column, row] = NONE if text is None else vocabulary.code(text)
        further = labels.keys() - _KNOWN
        self.stored[row] = self.extras.code(tuple((key, labels[key]) for key in sorted(further))) if further else NONE
        self._versions[row] = self.entities.label_version[row]

    def _grow(self, rows: int) -> None:
        if rows <= self.stored.size:
            return
        more = max(rows, 2 * self.stored.size) - self.stored.size
        self.codes = np.concatenate([self.codes, np.full((len(COLUMNS), more), NONE, np.int32)], axis=1)
        self.stored = np.concatenate([self.stored, np.full(more, NONE, np.int32)])
        self._versions = np.concatenate([self._versions, np.full(more, NONE, np.int64)])
