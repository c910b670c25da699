"""Resource versions as a function of time.

A real API server counts writes. Here a version is made of the second of an event and the place of the object in its
table, so that the version of any object at any time is known without a history: `(second + OFFSET) * 10**6 + 2 *
row + step`. `step` tells the two events a pod's slot can have in one second: 0 the old pod is deleted, 1 the new
one is there.
"""

OFFSET_SECONDS = 10_000_000  # the oldest object was created after the origin minus this
PER_SECOND = 1_000_000


def event_version(second: int, row: int, step: int = 1) -> int:
    """The version an event at `second` (relative to the origin) gives to the object in `row`."""
    return (second + OFFSET_SECONDS) * PER_SECOND + 2 * row + step


def list_version(second: int) -> int:
    """The version of a list taken at `second`: every event up to and with that second lies behind it."""
    return (second + OFFSET_SECONDS + 1) * PER_SECOND - 1


def second_of(version: int) -> int:
    """The second of the event that made `version`."""
    return version // PER_SECOND - OFFSET_SECONDS
