"""Pins and LabelTable: numbers are given out again only when nothing that lives knows the old owner."""

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from collector.core.slots import LabelTable, Pin, Pins

Pairs = tuple[tuple[str, str], ...]


def test_the_oldest_tick_held_is_the_one_whose_pin_lives() -> None:
    pins = Pins()
    assert pins.oldest() == 1
    first, second, third = pins.next(), pins.next(), pins.next()
    assert (pins.current, pins.oldest()) == (3, 1)
    del second
    assert pins.oldest() == 1
    del first
    assert pins.oldest() == 3
    del third
    assert pins.oldest() == 4


def test_one_label_set_has_one_number_however_it_is_asked_for() -> None:
    labels = LabelTable(Pins())
    root = labels.resource("/")
    assert labels.resource("/") == labels.intern((("resource_id", "/"),)) == root
    assert labels.intern((("make", "m"), ("model", "n"))) != root
    assert labels.pairs[root] == (("resource_id", "/"),)
    assert len(labels) == 2


def test_the_order_of_the_pairs_is_kept_and_matters() -> None:
    labels = LabelTable(Pins())
    assert labels.intern((("a", "1"), ("b", "2"))) != labels.intern((("b", "2"), ("a", "1")))


def test_a_swept_label_set_gets_a_number_again() -> None:
    labels = LabelTable(Pins())
    old = labels.resource("Volume:old")
    labels.sweep(labels._pins.next().sequence)
    assert len(labels) == 0
    assert labels.resource("Volume:new") == old
    assert labels.pairs[labels.resource("Volume:old")] == (("resource_id", "Volume:old"),)


def test_numbers_grow_with_what_lives_and_not_with_what_ever_lived() -> None:
    pins = Pins()
    labels = LabelTable(pins)
    for tick in range(50):
        pin = pins.next()
        used = [labels.resource(f"Volume:{tick}-{i}") for i in range(100)]
        labels.mark_seen(np.array(used, np.int32), pin.sequence)
        labels.sweep(pins.oldest())
    assert len(labels) == 100
    assert len(labels.pairs) <= 200


def test_overlapping_ticks_may_note_what_they_hold_in_any_order() -> None:
    pins = Pins()
    labels = LabelTable(pins)
    early, late = pins.next(), pins.next()
    root = np.array([labels.resource("/")], np.int32)
    labels.mark_seen(root, late.sequence)
    labels.mark_seen(root, early.sequence)
    del early
    labels.sweep(pins.oldest())
    assert len(labels) == 1
    del late
    labels.sweep(pins.oldest())
    assert len(labels) == 0


class Labels(RuleBasedStateMachine):
    """Ticks use label sets, overlap, and end in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.pins = Pins()
        self.labels = LabelTable(self.pins)
        self.held: dict[int, dict[int, Pairs]] = {}
        """Of each live tick: number -> label set."""
        self.live: dict[int, Pin] = {}
        self.last_used: dict[Pairs, int] = {}

    ticks = Bundle("ticks")
    resources = st.sampled_from("ab").map(lambda name: (("resource_id", name),))
    accelerators = st.just("gpu-0").map(lambda name: (("make", "m"), ("accelerator_id", name)))

    @rule(target=ticks)
    def begin(self) -> int:
        pin = self.pins.next()
        self.live[pin.sequence], self.held[pin.sequence] = pin, {}
        return pin.sequence

    @rule(tick=ticks, pairs=resources | accelerators)
    def use(self, tick: int, pairs: Pairs) -> None:
        number = self.labels.resource(pairs[0][1]) if len(pairs) == 1 else self.labels.intern(pairs)
        self.labels.mark_seen(np.array([number], np.int32), tick)
        self.held[tick][number] = pairs
        self.last_used[pairs] = self.pins.current

    @rule(tick=consumes(ticks))
    def end(self, tick: int) -> None:
        del self.live[tick], self.held[tick]

    @rule()
    def sweep(self) -> None:
        oldest = self.pins.oldest()
        self.labels.sweep(oldest)
        assert len(self.labels) <= sum(last >= oldest for last in self.last_used.values())

    @invariant()
    def every_number_held_still_means_the_same(self) -> None:
        for held in self.held.values():
            for number, pairs in held.items():
                assert self.labels.pairs[number] == pairs
                assert self.labels.intern(pairs) == number

    @invariant()
    def known_label_sets_and_numbers_are_one_to_one(self) -> None:
        known = [pairs for pairs in self.labels.pairs if pairs is not None]
        assert len(known) == len(set(known)) == len(self.labels)

    def teardown(self) -> None:
        self.live.clear()
        self.labels.sweep(self.pins.oldest())
        assert len(self.labels) == 0
        assert len(self.labels._resources) == 0
        assert len(self.labels._free) == len(self.labels.pairs)


Labels.TestCase.settings = settings(max_examples=3000, stateful_step_count=40, deadline=None)
TestLabels = Labels.TestCase
