"""The spool: what a sink is still to deliver, on disk, so that it outlives the server's bad days and this process.

    <--spool-dir>/<sink>/  00000007.spool   segments, appended to, each of whole ticks
                           cursor           which records of which segment are settled
                           dead-letters     what the server refused, with its words (sinks.runner)
                           lock             one process a directory

A record is one encoded write of one tick: docs/decisions/0010. Read `records` (the bytes), then `disk` (the few
operations that touch the file system), `index` (ticks and records in memory, and their ledger), `segments` (files and
the cursor), `size` (how large it may be), `spool` (the whole). Everything here is synchronous and knows no event loop.
"""
