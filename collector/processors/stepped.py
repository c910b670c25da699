"""Stepped: a processor's work in pieces, so that whoever drives it may see to something else between two of them."""

from abc import ABC, abstractmethod
from collections.abc import Iterator

from collector.core.batch import DataBatch


class Stepped(ABC):
    """Base of the processors: they write `steps`, and are whole with `process`.

    Between two steps rows and labels may be added to the entity table and swept from it, but none that the batch holds:
    what a step keeps for the next are row numbers and arrays of its own, never a look at the table's columns.
    """

    name: str

    @abstractmethod
    def steps(self, batch: DataBatch) -> Iterator[None]:
        """As `Processor.steps`."""

    def process(self, batch: DataBatch) -> None:
        """All steps at once."""
        for _ in self.steps(batch):
            pass
