"""The ledger: integers that balance at any moment."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Balance:
    """One ledger at one moment, since this process started: scraped + recovered = delivered + queued + dropped."""

    scraped: int
    recovered: int
    """Found in the spool at the start: what an earlier process could not deliver any more."""
    delivered: int
    queued: int
    """Counted where it lies, not computed from the others."""
    dropped: Mapping[str, int]
    """By reason."""

    @property
    def balanced(self) -> bool:
        """Whether nothing is unaccounted for."""
        return self.scraped + self.recovered == self.delivered + self.queued + sum(self.dropped.values())


@dataclass(slots=True)
class Account:
    """The counters of one ledger, without what is queued."""

    scraped: int = 0
    recovered: int = 0
    delivered: int = 0
    dropped: Counter[str] = field(default_factory=Counter)

    def balance(self, queued: int) -> Balance:
        """This moment, with what is queued now."""
        return Balance(self.scraped, self.recovered, self.delivered, queued, MappingProxyType(dict(self.dropped)))
