"""How long background work may keep the event loop, with clients and without."""

from collector.turns import ATTENTIVE_S, HURRY_S, SHORT_S, Turns


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_stretches_are_long_alone_short_with_clients_and_shortest_until_an_answer() -> None:
    clock = Clock()
    turns = Turns(clock)
    assert turns.stretch(0.02) == 0.02
    assert not turns.attentive
    turns.asked()
    assert turns.attentive
    assert turns.stretch(0.02) == 0.0
    turns.served()
    assert turns.stretch(0.02) == SHORT_S
    assert turns.stretch(SHORT_S / 4) == SHORT_S / 4, "what is shorter alone is no longer with clients"
    clock.now += ATTENTIVE_S
    assert not turns.attentive
    assert turns.stretch(0.02) == 0.02


def test_a_request_that_is_never_answered_hurries_nobody_for_long() -> None:
    clock = Clock()
    turns = Turns(clock)
    turns.asked()
    clock.now += HURRY_S
    assert turns.stretch(0.02) == SHORT_S
    clock.now += ATTENTIVE_S
    assert turns.stretch(0.02) == 0.02
