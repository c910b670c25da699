"""Which Kubernetes labels become labels of an entity."""

from hypothesis import given
from hypothesis import strategies as st

from collector.options import parse
from collector.processors.labels import LabelCopier
from collector.wanted import label_copier

PLAIN = LabelCopier()


def test_labels_are_joined_with_key_and_value() -> None:
    assert PLAIN.copy({"app": "web", "tier": "fe"}) == {"labels": "app:web,tier:fe"}


def test_no_labels_are_an_empty_text_and_not_an_absent_one() -> None:
    assert PLAIN.copy({}) == {"labels": ""}


def test_pairs_are_sorted_as_whole_texts_by_their_bytes() -> None:
    assert PLAIN.copy({"a": "1", "a-b": "1", "B": "2", "a.b": "3"}) == {"labels": "B:2,a-b:1,a.b:3,a:1"}


def test_a_stored_label_stands_under_its_new_name_before_the_joined_ones() -> None:
    copied = LabelCopier(stored=(("app", "mylabel"), ("absent", "other"))).copy({"app": "web", "tier": "fe"})
    assert list(copied.items()) == [("mylabel", "web"), ("labels", "app:web,tier:fe")]


def test_an_ignored_label_is_left_out_of_the_joined_ones() -> None:
    assert LabelCopier(ignored=frozenset({"hash"})).copy({"app": "web", "hash": "1"}) == {"labels": "app:web"}


def test_a_label_stored_and_ignored_lives_only_under_its_own_name() -> None:
    copier = LabelCopier(stored=(("app", "app"),), ignored=frozenset({"app"}))
    assert copier.copy({"app": "web"}) == {"app": "web", "labels": ""}


def test_any_separator_joins() -> None:
    assert LabelCopier(separator="").copy({"a": "1", "b": "2"}) == {"labels": "a:1b:2"}


def test_equal_labels_are_one_object_for_equal_copiers_only() -> None:
    labels = {"app": "one-object", "tier": "fe"}
    assert PLAIN.copy(labels) is LabelCopier().copy(dict(reversed(labels.items())))
    assert LabelCopier(separator=";").copy(labels) == {"labels": "app:one-object;tier:fe"}


@given(st.dictionaries(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8"))))
def test_joined_labels_are_those_of_the_reference_for_any_text(labels: dict[str, str]) -> None:
    pairs = [f"{key}:{value}".encode() for key, value in labels.items()]
    assert PLAIN.copy(labels) == {"labels": b",".join(sorted(pairs)).decode()}


def test_of_two_names_for_one_label_the_last_counts_and_an_empty_label_is_none() -> None:
    options = parse(["--source=kubernetes:", "--store-label=one=app,two=app", "--store_label=tier", "--store-label=x="])
    copied = label_copier(options).copy({"app": "web", "tier": "fe", "x": "1"})
    assert copied == {"two": "web", "tier": "fe", "labels": "app:web,tier:fe,x:1"}
