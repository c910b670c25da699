"""Every exception the collector raises on purpose.

    HeapsterError
    ├── UsageError            a flag, URI or option means nothing that can be done: exit status 255
    │   └── CommandLineError  the command line cannot be read, or asks for help: usage, exit status 2
    ├── StartError            a right configuration that cannot run here: exit status 255
    ├── ScrapeError           one node's answer is missing from one batch
    │   ├── FetchError        no answer, or not the one asked for
    │   └── DecodeError       an answer that cannot be read
    ├── KubernetesError       the API server refused, or its answer cannot be read
    │   └── ExpiredError      410 Gone: the resource version is too old, list again
    ├── MemoryShortError      no memory for another batch within --memory-budget: the window is skipped
    ├── ExportError           a sink did not take a batch
    ├── ServerStoppedError    a server that must not end has ended: exit status 1
    └── HistoryError          a question about the past cannot be answered

The exit statuses are Heapster's; any other of these that ends the process ends it with 1. A message says what failed,
for whom, against which limit, and what to turn.
"""

from collections.abc import Sequence
from typing import Literal


class HeapsterError(Exception):
    """Root of the tree: catching it catches everything the collector raises on purpose."""


class UsageError(HeapsterError):
    """The configuration is wrong; `faults` holds one sentence for each fault found."""

    def __init__(self, *faults: str) -> None:
        super().__init__("; ".join(faults))
        self.faults: Sequence[str] = faults


class CommandLineError(UsageError):
    """A flag is unknown, or its value cannot be read; without faults: help was asked for."""


class StartError(HeapsterError):
    """The configuration is well-formed but cannot run here: a port is taken, a CA is wrong."""


class ScrapeError(HeapsterError):
    """One node's answer is missing from this batch; its neighbours are not touched."""


FetchReason = Literal[
    "refused",  # nothing listens at that address and port
    "unreachable",  # no way to that address
    "timeout",  # the limit per node
    "late",  # the deadline of the whole fan-out
    "tls",  # certificate, or no TLS where it was expected
    "pin",  # another key than the one the node showed first
    "unauthorized",
    "forbidden",
    "not_found",
    "status",  # any other status but 200
    "too_large",
    "redirect",
    "protocol",  # broken off, not HTTP, a page for people, nothing
    "internal",  # the collector could not ask
]
"""The values of the label `reason` of the scrape error counter."""


class FetchError(ScrapeError):
    """A kubelet gave no answer, or one that is no answer to the question; `reason` is one word for it."""

    def __init__(self, message: str, *, reason: FetchReason = "protocol") -> None:
        super().__init__(message)
        self.reason: FetchReason = reason


class DecodeError(ScrapeError):
    """A kubelet's answer is not a document of the expected form."""


class KubernetesError(HeapsterError):
    """The API server refused a request or answered something unreadable."""


class ExpiredError(KubernetesError):
    """410 Gone: the resource version is no longer kept, the collection must be listed again."""


ABOUT_POINTS = frozenset({400, 413, 422})
"""Refusals that judge what was sent. Every other one, and a redirect, judges the asking: password, permission,
database, address, method, proxy, a request cut short."""


def is_about_us(status: int) -> bool:
    """Whether an answer of this HTTP status says that we will not be heard, whatever the points are."""
    return 300 <= status < 500 and status not in ABOUT_POINTS and status != 429


class ExportError(HeapsterError):
    """A sink did not take a batch; `retryable` tells whether trying again could help.

    The others are what the other side answered, as far as it did: the HTTP status, the seconds after which to come
    back, and how many of the points it has dropped while it kept the rest.
    """

    def __init__(
        self,
        message: str,
        *,
        retryable: bool = True,
        status: int | None = None,
        retry_after_s: float | None = None,
        refused_points: int | None = None,
    ) -> None:
        super().__init__(message)
        self.retryable = retryable
        self.status = status
        self.retry_after_s = retry_after_s
        self.refused_points = refused_points

    @property
    def refuses_us(self) -> bool:
        """Whether the other side will not hear us, whatever the points are, until somebody puts something right."""
        return not self.retryable and self.status is not None and is_about_us(self.status)


class MemoryShortError(HeapsterError):
    """Another batch would not fit into --memory-budget, whatever else is given up; the window is skipped."""


class HistoryError(HeapsterError):
    """A question about the past cannot be answered: the store cannot be read, or the answer takes too long."""


class ServerStoppedError(HeapsterError):
    """A server that is to serve for as long as the process lives serves no longer."""
