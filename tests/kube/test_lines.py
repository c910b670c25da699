from hypothesis import given, settings
from hypothesis import strategies as st

from collector.kube.lines import LineSplitter


def fed(chunks, limit=1 << 20):
    splitter = LineSplitter(limit)
    return [line for chunk in chunks for line in splitter.feed(chunk)], splitter


def test_a_line_cut_anywhere_is_joined_again():
    lines, _ = fed([b'{"a"', b":1}", b'\n{"b":2}\n{"c', b'":3}\n'])
    assert lines == [b'{"a":1}', b'{"b":2}', b'{"c":3}']


def test_a_rest_without_an_end_is_never_given_out():
    assert fed([b'{"a":1}\n{"b":'])[0] == [b'{"a":1}']


def test_blank_lines_and_carriage_returns_are_left_out():
    assert fed([b"\n\r\n{}\r\n \n"])[0] == [b"{}"]


def test_a_line_beyond_the_limit_is_dropped_and_counted_and_the_next_one_kept():
    lines, splitter = fed([b"x" * 8, b"y" * 8, b"z\nshort\n", b"q" * 11 + b"\nlast\n"], limit=10)
    assert lines == [b"short", b"last"]
    assert splitter.dropped == 2


def test_a_line_exactly_as_long_as_the_limit_is_kept():
    lines, splitter = fed([b"x" * 10 + b"\n"], limit=10)
    assert lines == [b"x" * 10]
    assert splitter.dropped == 0


@settings(deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=20).filter(lambda b: b.strip() == b and b"\n" not in b)), st.data())
def test_how_the_network_cuts_the_stream_does_not_matter(lines, data):
    body = b"".join(line + b"\n" for line in lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=8)))
    chunks = [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    assert fed(chunks)[0] == lines
