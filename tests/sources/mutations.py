"""Answers as no kubelet should send them: recorded ones, bent in a few places."""

import copy
import json
import re
from typing import Any

from hypothesis import strategies as st

from tests.sources.captures import EVERYTHING, summary_body, wrapped_pod

_SMALL = (
    "derived-missing-fields-metrics-server-2021.json",
    "k8s-1.05-linux-docker-gke-beats-2017-inodesfree-uint64max.json",
    "k8s-1.10-linux-docker-kops-splunk-2018.json",
    "k8s-1.16-windows-docker-eks-datadog-2020.json",
    "live-v1.36.2-summary-cpu-mem.json",
)
_LARGE = ("k8s-1.15-linux-docker-minikube-newrelic-2020.json", "live-v1.36.2-summary-1.json")

_AGAIN = "\0again:"
"""Before a key: write it a second time."""
_RAW = "\0raw:"
"""Before the text of a JSON value that Python would not write."""


def _trimmed(body: bytes) -> Any:
    tree = json.loads(body)
    tree["pods"] = tree["pods"][:3]
    return tree


TREES: list[Any] = [
    json.loads(EVERYTHING),
    json.loads(wrapped_pod()),
    *(_trimmed(summary_body(name)) for name in (*_SMALL, *_LARGE)),
]

_nested = st.integers(1, 60).map(lambda depth: json.loads("[" * depth + "]" * depth))
_odd_values: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from(
        [0, -1, -(2**63), 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 10**30, 0.0, 1.0, 0.5, -1.5, 1e300]
    ),
    st.sampled_from([_RAW + text for text in ("-0", "1e3", "1E400", "-1e999", "9" * 5000, "1.0")]),
    st.sampled_from(["", "0", "x" * 253, "x" * 254, "\ud83d\ude00" * 253, "\ud800", "a\udfffb", "a\0b", "gauge"]),
    st.sampled_from(
        [
            "2026-01-01T00:00:00Z",
            "2026-01-01T00:00:00.123456789-05:30",
            "2262-04-11T23:47:17Z",
            "1969-12-31T23:59:59Z",
            "now",
        ]
    ),
    st.sampled_from([{}, [], [None], [[]], {"": 1}, [{"name": "x"}], {"usedBytes": 1, "time": "2026-01-01T00:00:00Z"}]),
    _nested,
    st.text(max_size=8),
    st.integers(),
)


@st.composite
def odd_answers(draw: st.DrawFn) -> bytes:
    """The bytes of a recorded answer after up to six changes anywhere in it."""
    tree = copy.deepcopy(draw(st.sampled_from(TREES)))
    for _ in range(draw(st.integers(1, 6))):
        _change(draw, tree)
    if isinstance(tree.get("node"), dict) and draw(st.integers(0, 3)) != 3:
        tree["node"]["nodeName"] = "node-a"  # most answers can be used, or only errors would be seen
        tree["node"].pop(f"{_AGAIN}nodeName", None)
    return written(tree)


def _change(draw: st.DrawFn, tree: Any) -> None:
    """One change at one place; objects and lists further down are as likely a place as those further up."""
    here: Any = tree
    while True:
        places = list(here) if isinstance(here, dict) else list(range(len(here)))
        if not places:
            return
        place = draw(st.sampled_from(places))
        if isinstance(here[place], dict | list) and draw(st.integers(0, 15)) != 9:
            here = here[place]
            continue
        break
    match draw(st.sampled_from(["drop", "set", "set", "set", "repeat", "swap"])):
        case "drop":
            del here[place]
        case "set":
            here[place] = copy.deepcopy(draw(_odd_values))
        case "repeat" if isinstance(here, list):
            here.insert(draw(st.integers(0, len(here))), copy.deepcopy(here[place]))
        case "repeat":
            here[_AGAIN + place] = copy.deepcopy(draw(st.one_of(st.just(here[place]), _odd_values)))
        case _:
            other = draw(st.sampled_from(places))
            here[place], here[other] = here[other], here[place]


def written(tree: Any) -> bytes:
    """As JSON, with the marks above carried out; `"\\ud800"` stays an escape, other text is UTF-8."""
    text = json.dumps(tree, ensure_ascii=True)
    text = text.replace('"\\u0000again:', '"')
    return re.sub(r'"\\u0000raw:([^"]*)"', r"\1", text).encode()


@st.composite
def torn(draw: st.DrawFn, body: bytes) -> bytes:
    """`body` cut off, with bytes that are no UTF-8, or with some of its bytes replaced, inserted or removed."""
    changed = bytearray(body)
    match draw(st.sampled_from(["cut", "spoil", "spoil", "edit"])):
        case "cut":
            del changed[draw(st.integers(0, len(body))) :]
        case "spoil":
            for _ in range(draw(st.integers(1, 3))):
                changed[draw(st.integers(0, len(body) - 1))] = draw(st.sampled_from([0xFF, 0xC3, 0xED]))
        case _:
            for _ in range(draw(st.integers(1, 4))):
                start = draw(st.integers(0, len(changed)))
                new = draw(st.one_of(st.binary(max_size=3), st.sampled_from([b"\xed\xa0\x80", b"}", b'"', b","])))
                changed[start : start + draw(st.integers(0, 3))] = new
    return bytes(changed)
