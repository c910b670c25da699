"""The ledger of every sink, as the manager keeps it: ticks for all, points where they can be counted.

A tick that its slot lost was never encoded: it counts as a tick, and its points for none. Points of a spooled sink are
those it encoded; of another sink, the values of the batches it was offered.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sinks.spool.account import Balance
from sinks.spool.size import SpoolSize


@dataclass(frozen=True, slots=True)
class SinkLedger:
    """One sink at one moment, since this process started."""

    name: str
    keeps: str
    """What waits is on `disk`, in `memory` alone, or, `none`, is one batch at most."""
    ticks: Balance
    points: Balance
    queued_bytes: int
    refused: bool
    """Delivering has stopped: the other side will not hear us until somebody puts right what `trouble` says."""
    trouble: str | None
    """What went wrong last, None while all goes well."""
    size: SpoolSize | None = None
    """How much may wait, of a sink that keeps more than one batch."""

    @property
    def balanced(self) -> bool:
        """Whether nothing is unaccounted for."""
        return self.ticks.balanced and self.points.balanced

    def document(self) -> dict[str, Any]:
        """For `/api/v1/ledger`."""
        return {
            "name": self.name,
            "keeps": self.keeps,
            "balanced": self.balanced,
            "ticks": _document(self.ticks),
            "points": _document(self.points),
            "queuedBytes": self.queued_bytes,
            "limitBytes": None if self.size is None else self.size.limit_bytes,
            "coversSeconds": None if self.size is None or self.size.covers_s is None else int(self.size.covers_s),
            "refused": self.refused,
            "trouble": self.trouble,
        }


def joined(slot: Mapping[str, int], queued: int, offered: int, runner: Balance) -> Balance:
    """The ticks of a spooled sink: what its slot lost or still has, and what became of those handed over."""
    dropped = dict(runner.dropped)
    for reason, count in slot.items():
        dropped[reason] = dropped.get(reason, 0) + count
    return Balance(offered, runner.recovered, runner.delivered, runner.queued + queued, dropped)


def _document(balance: Balance) -> dict[str, Any]:
    return {
        "scraped": balance.scraped,
        "recovered": balance.recovered,
        "delivered": balance.delivered,
        "queued": balance.queued,
        "dropped": dict(sorted(balance.dropped.items())),
    }
