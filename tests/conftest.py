"""What holds for every test."""

import asyncio

from hypothesis import settings

# looptime asks for the current loop around plain tests too, and Python 3.11 would make one that nobody closes.
asyncio.set_event_loop(None)

# Speed is measured in benchmarks: a busy machine fails no test.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
