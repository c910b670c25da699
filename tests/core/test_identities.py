"""The vectorised hash table against a dictionary."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from collector.core.identities import UNKNOWN, Identities

# Few hashes, so that most keys want the same slots; a different second half, so that they are different keys.
keys = st.tuples(st.sampled_from([0, 1, 5, 1023, 1024, 2**63 + 5]), st.integers(1, 40))
steps = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.lists(st.tuples(keys, st.integers(0, 3000)), max_size=40)),
        st.tuples(st.just("forget"), st.lists(st.integers(0, 3000), max_size=5)),
        st.tuples(st.just("forget one"), st.integers(0, 5000)),
    ),
    max_size=12,
)


def asked(identities: Identities, wanted: list[tuple[int, int]]) -> list[int]:
    return identities.find(np.array(wanted, np.uint64).reshape(-1, 2)).tolist()


@given(steps, st.lists(keys, max_size=60))
def test_it_finds_what_a_dictionary_would(steps, wanted):
    identities = Identities()
    owner: dict[int, tuple[int, int]] = {}
    for step, given_ in steps:
        if step == "put":
            # A key stands for one number: who puts it again has asked before and found none.
            fresh = {key: number for key, number in given_ if key not in owner.values()}
            identities.put(np.array(list(fresh), np.uint64).reshape(-1, 2), np.array(list(fresh.values()), np.int32))
            owner |= {number: key for key, number in fresh.items()}
        else:
            identities.forget(given_)
            for number in given_ if isinstance(given_, list) else [given_]:
                owner.pop(number, None)
        known = {key: number for number, key in owner.items()}
        assert asked(identities, wanted) == [known.get(key, UNKNOWN) for key in wanted]


def test_it_grows_and_forgets_what_was_given_to_others():
    identities = Identities()
    numbers = np.arange(20_000, dtype=np.int32)
    for turn in range(5):  # the same numbers, other names: the slots of the former owners must not pile up
        keys = np.stack([numbers.astype(np.uint64) * 7919, np.full(20_000, turn + 1, np.uint64)], axis=1)
        assert (identities.find(keys) == UNKNOWN).all()
        identities.put(keys, numbers)
        assert (identities.find(keys) == numbers).all()
    assert identities._slots.size <= 16 * 20_000
    assert (identities.find(np.array([[7919, 4]], np.uint64)) == UNKNOWN).all()
