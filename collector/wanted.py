"""What the flags ask for: sinks, the one that keeps the past, spools, what a restart goes on with, copied labels."""

import logging
from collections.abc import Callable, Sequence
from urllib.parse import quote

from collector.core.contracts import Sink
from collector.core.labels import BUILT_IN
from collector.core.light import LightStore
from collector.core.visibility import Visibility
from collector.errors import UsageError
from collector.history.contracts import HistoricalSink, History
from collector.kube.quantity import QuantityError, value
from collector.options import Options
from collector.processors.labels import LabelCopier
from sinks.base import SinkUri, build
from sinks.runner.place import AUTOMATIC, place, state_directory
from sinks.spool.spool import MINIMUM_BYTES, SpoolLimits
from sinks.warm import WarmSink

log = logging.getLogger(__name__)

EMBEDDED = "history"
"""Key of the sink that answers the historical API without being named, and that is there without being asked for."""

UNASKED = "max_bytes=1073741824"
"""How much the embedded history may take where nobody asked for it: the volume may be small and the cluster large."""


AUTOMATIC_BYTES = 20 << 30
"""Most of a spool's budget where none was named: a day of 1,000 nodes with fields, docs/reliability.md."""

AUTOMATIC_SHARE = 0.5
"""Of what the disk has free, for all spools together: a kubelet evicts pods when a tenth is left."""


def built_sinks(options: Options) -> list[tuple[str, Sink]]:
    """The sinks asked for, each with its URI.

    One that cannot be built is left out; when none can, that is a UsageError (K26). With none asked for it is the
    embedded history, where there is a place for it: `--sink=metric` asks for none.
    """
    sinks: list[tuple[str, Sink]] = []
    faults: list[str] = []
    for text in options.sink or _sink_of_nobody():
        try:
            visibility = Visibility(options.extended_metrics)
            sinks.append((text, build(text, visibility=visibility, label_separator=options.label_separator)))
        except UsageError as error:
            faults += error.faults
    if faults and not sinks:
        raise UsageError(*faults)
    for fault in faults:
        log.error("a sink is left out: %s", fault)
    return sinks


def _sink_of_nobody() -> list[str]:
    state = state_directory()
    if state is None:
        return []
    directory = state / "history"
    log.info("no sink is asked for: the past is kept in %s; --sink=metric keeps none", directory)
    return [f"{EMBEDDED}:{quote(str(directory))}?{UNASKED}"]


def past_of(options: Options, sinks: Sequence[tuple[str, Sink]]) -> History | None:
    """What answers the historical API: the sink that --historical-source names, else the embedded history if any.

    Raises UsageError (behaviour reference, 1.7).
    """
    named = options.historical_source
    if not named:
        embedded = (sink for text, sink in sinks if SinkUri.parse(text).key == EMBEDDED)
        found = next(embedded, None)
        return found.history() if isinstance(found, HistoricalSink) else None
    wanted = SinkUri.parse(named)
    for text, sink in sinks:
        if SinkUri.parse(text) == wanted:
            history = sink.history() if isinstance(sink, HistoricalSink) else None
            if history is None:
                raise UsageError(
                    f"--historical-source={wanted}: this sink cannot be asked about the past; sinks that can are "
                    "influxdb (without api=v2) and history"
                )
            return history
    raise UsageError(f"--historical-source={wanted} is none of the sinks: write it exactly as one --sink")


def spool_limits(options: Options) -> SpoolLimits:
    """How much and how long a spool keeps, and when it is sure of it. Raises UsageError."""
    automatic = options.spool_max_bytes == AUTOMATIC
    return SpoolLimits(
        max_bytes=AUTOMATIC_BYTES if automatic else _spool_bytes(options.spool_max_bytes),
        free_share=AUTOMATIC_SHARE if automatic else 0.0,
        max_age_ns=options.spool_max_age,
        sync="each" if options.spool_fsync == "each" else "interval",
    )


def _spool_bytes(text: str) -> int:
    try:
        found = value(text)
    except QuantityError:
        found = 0
    if found < MINIMUM_BYTES:
        raise UsageError(
            f"--spool-max-bytes is {text!r}; it must be auto, or a quantity of bytes of 64Ki or more, such as 2Gi"
        )
    return found


def warm_sink(options: Options, light: Callable[[], LightStore | None]) -> WarmSink | None:
    """What writes down what a restart goes on with, where there is a place for it."""
    found = place(options.warm_dir, name="warm")
    return None if found.root is None else WarmSink(found.root, light=light)


def label_copier(options: Options) -> LabelCopier:
    """The copier of the three label flags. Raises UsageError for a stored label that would replace a built-in one."""
    stored: dict[str, str] = {}
    for text in options.store_label:
        new, renames, old = text.partition("=")
        stored[old if renames else new] = new  # as in Heapster, of two names for one label the last one counts
    taken = sorted(set(stored.values()) & BUILT_IN)
    if taken:
        raise UsageError(
            f"--store-label would replace the built-in label {', '.join(taken)}: store it under another name"
        )
    return LabelCopier(tuple(stored.items()), frozenset(options.ignore_label), options.label_separator)
