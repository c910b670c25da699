"""The runner of a sink that sends bytes: it keeps each tick in the spool and delivers from there.

    SinkManager slot --export(batch)--> encode -> spool.append     (until here a batch is pinned in memory)
                                                    |
                            senders: spool.take -> send -> settle, release or split

Division of labour: the manager's slot hands batches over, one at a time, and counts those it could not (as for every
sink); SpooledSink encodes and keeps, retries and splits, and counts ticks and points; the sink knows its encoding and
its wire. Read `contracts`, then `sink`; beside it `retry` (when to try again), `refusals` (finding the points a server
will not have), `deadletters` (where those go), `ledger` (what is shown) and `place` (where spools lie).
"""

from sinks.runner.sink import SpooledSink

__all__ = ["SpooledSink"]
