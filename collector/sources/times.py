"""RFC 3339 times to nanoseconds, remembered: a fleet writes few distinct times, each of them thousands of times."""

import re
from datetime import UTC, datetime

LIMIT = 1 << 19
"""Times remembered; start times of 150,000 pods fit, and an enemy's do no harm."""

LONGEST = 64
"""Characters of the longest text remembered; no time is longer."""

_RFC3339 = re.compile(
    r"(\d{4}-\d\d-\d\d[Tt](?:[01]\d|2[0-3]):\d\d:\d\d)(?:\.(\d{1,18}))?([Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)",
    re.ASCII,
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def epoch_ns(text: str) -> int:
    """Nanoseconds since the epoch of an RFC 3339 time; 0 ("no time") for anything else, or for a time before 1970."""
    match = _RFC3339.fullmatch(text)
    if match is None:
        return 0
    seconds, fraction, zone = match.groups()
    try:
        # Whole seconds through datetime, the fraction by hand: datetime stops at microseconds.
        moment = datetime.fromisoformat(seconds.upper() + ("+00:00" if zone in "Zz" else zone))
    except ValueError:
        return 0
    since = moment - _EPOCH
    ns = (since.days * 86_400 + since.seconds) * 1_000_000_000 + int((fraction or "0").ljust(9, "0")[:9])
    return ns if 0 < ns < 2**63 else 0


class _Remembered(dict[str | None, int]):
    def __missing__(self, text: str | None) -> int:
        if text is not None and len(text) > LONGEST:
            return 0
        if len(self) >= LIMIT:
            self.clear()
        ns = self[text] = epoch_ns(text) if text else 0
        return ns


EPOCH_NS = _Remembered()
"""`EPOCH_NS[text]`: as `epoch_ns`, 0 also for None and the empty text."""
