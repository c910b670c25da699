"""What holds for every test."""

import asyncio

# looptime asks for the current loop around plain tests too, and Python 3.11 would make one that nobody closes.
asyncio.set_event_loop(None)
