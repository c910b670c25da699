"""What every sink shares: the way from a URI to a sink. The grammar of URIs is `collector.uris`."""

import importlib
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Protocol

from collector.core.contracts import Sink
from collector.core.visibility import HEAPSTERS, Visibility
from collector.errors import UsageError
from collector.uris import ComponentUri
from sinks import NOT_THERE_YET, SINKS

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkUri(ComponentUri):
    """One sink URI, taken apart."""

    component: ClassVar[str] = "sink"
    visibility: Visibility = HEAPSTERS
    """Which metrics a sink that Heapster had is to send; no part of the URI, but the same for all sinks."""
    label_separator: str = ","
    """What stands between the labels in the joined `labels`; the same."""


class SinkClass(Protocol):
    """What a row of SINKS names."""

    def from_uri(self, uri: "SinkUri") -> Sink:
        """The sink that `uri` describes. Opens no connection; raises UsageError for a bad option."""
        ...


def build(
    text: str,
    environ: Mapping[str, str] = os.environ,
    *,
    visibility: Visibility = HEAPSTERS,
    label_separator: str = ",",
) -> Sink:
    """The sink of a URI. Raises UsageError; opens no connection.

    `visibility` is which metrics the sinks that Heapster had will send, `label_separator` what the flag of that name
    is.

    An option the sink does not know has no effect, as in Heapster, but here it is said.
    """
    uri = replace(SinkUri.parse(text, environ), visibility=visibility, label_separator=label_separator)
    row = SINKS.get(uri.key)
    if uri.key in NOT_THERE_YET and row is None:
        raise UsageError(f"sink {uri.key}: one of Heapster's that this collector does not have; it has {_known()}")
    if row is None:
        raise UsageError(f"sink {uri.key!r} is not known; choose one of {_known()}")
    module, _, name = row.partition(":")
    kind: SinkClass = getattr(importlib.import_module(module), name)
    sink = kind.from_uri(uri)
    if unknown := uri.unknown():
        _logger.warning(
            "sink %s: no effect of %s; its options are %s",
            uri.key,
            ", ".join(repr(name) for name in unknown),
            ", ".join(uri.known) or "none",
        )
    return sink


def _known() -> str:
    return ", ".join(sorted(SINKS))
