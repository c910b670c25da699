"""What is remembered of kubelets that do not serve an endpoint, and for how long."""

import logging

import pytest

from collector.errors import FetchError, FetchReason
from collector.kube.objects import Node
from collector.sources.fallback import AGAIN_S, Fallbacks

NODE = Node("n", uid="u", kubelet_version="v1.30.0")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def noted(reason: FetchReason) -> tuple[Clock, Fallbacks]:
    clock = Clock()
    fallbacks = Fallbacks(clock)
    fallbacks.note(NODE, "/first", "/instead", FetchError("node n: status", reason=reason))
    return clock, fallbacks


def test_one_that_does_not_serve_it_is_asked_again_when_it_is_another_one() -> None:
    clock, fallbacks = noted("not_found")
    clock.now += 1e9
    assert fallbacks.known(NODE)
    assert not fallbacks.known(Node("n", uid="u", kubelet_version="v1.31.0"))
    assert not fallbacks.known(Node("n", uid="other", kubelet_version="v1.30.0"))


def test_one_that_refuses_it_is_asked_again_now_and_then_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    clock, fallbacks = noted("forbidden")
    assert fallbacks.known(NODE)
    clock.now += AGAIN_S
    assert not fallbacks.known(NODE)
    fallbacks.note(NODE, "/first", "/instead", FetchError("node n: status", reason="forbidden"))
    assert fallbacks.known(NODE)
    assert caplog.text.count("refuses /first, /instead is read instead and it is asked again every 300 s") == 1
    clock.now += AGAIN_S
    fallbacks.served(NODE, "/first")
    fallbacks.served(NODE, "/first")
    assert caplog.text.count("node n: /first is read again") == 1


def test_nodes_that_are_gone_are_forgotten() -> None:
    _, fallbacks = noted("not_found")
    fallbacks.keep_only([])
    assert not fallbacks.known(NODE)
