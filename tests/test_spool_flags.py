"""--spool-max-bytes: a budget that is named is kept to, one that is not goes by the disk."""

import pytest

from collector.errors import UsageError
from collector.options import parse
from collector.wanted import AUTOMATIC_BYTES, AUTOMATIC_SHARE, spool_limits

SOURCE = "--source=kubernetes.summary_api:"


@pytest.mark.parametrize(
    ("text", "size", "share"),
    [
        ("auto", AUTOMATIC_BYTES, AUTOMATIC_SHARE),
        ("1073741824", 1 << 30, 0),
        ("20Gi", 20 << 30, 0),
        ("64Ki", 1 << 16, 0),
    ],
)
def test_a_budget_that_is_named_is_the_budget(text: str, size: int, share: float) -> None:
    limits = spool_limits(parse([SOURCE, f"--spool-max-bytes={text}"]))
    assert (limits.max_bytes, limits.free_share) == (size, share)


@pytest.mark.parametrize("text", ["", "0", "-1", "65535", "much", "off", "2GB"])
def test_one_that_cannot_be_read_is_refused_by_name(text: str) -> None:
    with pytest.raises(UsageError, match=r"--spool-max-bytes is .*; it must be auto, or a quantity of bytes"):
        spool_limits(parse([SOURCE, f"--spool-max-bytes={text}"]))
