"""Label and field selectors: what they select, and what is refused in which words."""

import contextlib
import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from collector.kube import fieldselector, selector
from collector.kube.selector import LabelSelector, Operator, Requirement, SelectorError

KEY_FORM = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character "
    "(e.g. 'MyName',  or 'my.name',  or '123-abc', "
    "regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)

# (text, labels, whether they are selected)
SELECTED = [
    ("", {}, True),
    (" \t\r\n", {"a": "b"}, True),
    ("a", {"a": ""}, True),
    ("a", {}, False),
    ("!a", {}, True),
    ("! a", {"a": ""}, False),
    ("a=b", {"a": "b"}, True),
    ("a=b", {"a": "c"}, False),
    ("a==b", {"a": "b"}, True),
    ("a=", {"a": ""}, True),
    ("a=", {}, False),
    ("a=,b", {"a": "", "b": "x"}, True),
    ("a!=b", {}, True),
    ("a!=b", {"a": "b"}, False),
    ("a in (b,c)", {"a": "c"}, True),
    ("a in (b,c)", {}, False),
    ("a in ()", {"a": ""}, True),
    ("a in (,b)", {"a": ""}, True),
    ("a in (b,,c)", {"a": ""}, True),
    ("a in (b,)", {"a": ""}, True),
    ("a in (b)", {"a": ""}, False),
    ("a notin (b,c)", {"a": "b"}, False),
    ("a notin (b,c)", {}, True),
    ("a\tnotin\n( b ,\r c )", {"a": "d"}, True),
    ("a>1", {"a": "2"}, True),
    ("a>1", {"a": "1"}, False),
    ("a>1", {"a": "x"}, False),
    ("a>1", {}, False),
    ("a<10", {"a": "9"}, True),
    ("a<10", {"a": "9223372036854775808"}, False),
    ("in in (in)", {"in": "in"}, True),
    ("notin", {"notin": "x"}, True),
    ("a=notin", {"a": "notin"}, True),
    ("example.com/a=b", {"example.com/a": "b"}, True),
    ("a=b,c!=d", {"a": "b", "c": "d"}, False),
    ("a=b\0,c", {"a": "b", "c": ""}, True),
]


@pytest.mark.parametrize(("text", "labels", "selected"), SELECTED)
def test_a_selector_selects_by_labels(text, labels, selected):
    assert selector.parse(text).matches(labels) is selected


# The words of apimachinery 1.9; those that were recorded from a running server are in the golden replay as well.
REFUSED = [
    ("=x", "found '=', expected: !, identifier, or 'end of string'"),
    (",", "found ',', expected: !, identifier, or 'end of string'"),
    ("!", "unable to parse requirement: found '', expected: identifier"),
    ("!!a", "unable to parse requirement: found '!', expected: identifier"),
    ("!a=b", "found '=', expected: ',' or 'end of string'"),
    ("a,", "found '', expected: identifier after ','"),
    ("a,,b", "found ',', expected: identifier after ','"),
    ("a b", "unable to parse requirement: found 'b', expected: '=', '!=', '==', 'in', notin'"),
    ("a!b", "unable to parse requirement: found '!', expected: '=', '!=', '==', 'in', notin'"),
    ("a=b c", "found 'c', expected: ',' or 'end of string'"),
    ("a=(", "unable to parse requirement: found '(', expected: identifier"),
    ("a===b", "unable to parse requirement: found '=', expected: identifier"),
    ("a in b", "unable to parse requirement: found 'b' expected: '('"),
    ("a in", "unable to parse requirement: found '' expected: '('"),
    ("a in (", "unable to parse requirement: found '', expected: ',', ')' or identifier"),
    ("a in (b", "unable to parse requirement: found '', expected: ',' or ')'"),
    ("a in (b c)", "unable to parse requirement: found 'c', expected: ',' or ')'"),
    ("a in (b,", "unable to parse requirement: found '', expected: ',', or identifier"),
    ("a in (b,,)", "unable to parse requirement: found ')', expected: ',', or identifier"),
    ("a>b", "unable to parse requirement: for 'Gt', 'Lt' operators, the value must be an integer"),
    ("a<", "unable to parse requirement: for 'Gt', 'Lt' operators, the value must be an integer"),
    ("a>99999999999999999999", "unable to parse requirement: for 'Gt', 'Lt' operators, the value must be an integer"),
    ("-a", f'unable to parse requirement: invalid label key "-a": name part {KEY_FORM}'),
    (
        "a/",
        'unable to parse requirement: invalid label key "a/": name part must be non-empty; name part ' + KEY_FORM,
    ),
    ("/a", 'unable to parse requirement: invalid label key "/a": prefix part must be non-empty'),
    (
        "a/b/c",
        (
            f'unable to parse requirement: invalid label key "a/b/c": a qualified name {KEY_FORM} '
            "with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        ),
    ),
    (
        "A/b",
        (
            'unable to parse requirement: invalid label key "A/b": prefix part a DNS-1123 subdomain must consist of '
            "lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character "
            "(e.g. 'example.com', regex used for validation is "
            r"'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
        ),
    ),
    (
        f"a={'b' * 64}",
        f'unable to parse requirement: invalid label value: "{"b" * 64}": must be no more than 63 characters',
    ),
    (
        "a=é",
        (
            'unable to parse requirement: invalid label value: "é": a valid label must be an empty string or consist '
            "of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. "
            "'MyValue',  or 'my_value',  or '12345', regex used for validation is "
            "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
        ),
    ),
]


@pytest.mark.parametrize(("text", "words"), REFUSED, ids=[repr(text[:20]) for text, _ in REFUSED])
def test_what_is_no_selector_is_refused_in_kubernetes_words(text, words):
    with pytest.raises(SelectorError) as refusal:
        selector.parse(text)
    assert str(refusal.value) == words


def test_a_prefix_may_have_253_bytes_and_a_name_63():
    prefix = ".".join(["a" * 49] * 5)[:253]
    assert selector.parse(f"{prefix}/{'b' * 63}={'c' * 63}")
    with pytest.raises(SelectorError, match="prefix part must be no more than 253 characters"):
        selector.parse(f"{prefix}{'a' * 253}/b")
    with pytest.raises(SelectorError, match="must be no more than 63 characters"):
        selector.parse("ü" * 32)  # bytes, not characters


# A slow reference: the language of token strings as one regular expression, and matching by the letter of the API docs.

SIGNS = {"a": "x", "b": "x", "5": "5", "in": "i", "notin": "i", "==": "=", "!=": "N"}
"""Word -> its sign; `i` is an identifier, too, where no operator can stand."""
ID = "[x5i]"
LIST = rf"\((?:\)|(?:{ID}(?=[,)])|,,(?={ID}|,)|,(?={ID}|\)))+\))"
REQUIREMENT = rf"(?:!{ID}|{ID}[=N](?:{ID}|(?=,|$))|{ID}[<>]5|{ID}i{LIST}|{ID}(?=,|$))"
LANGUAGE = re.compile(rf"(?:{REQUIREMENT}(?:,{REQUIREMENT})*)?")


@settings(max_examples=1500)
@given(st.lists(st.sampled_from(["a", "b", "5", "in", "notin", "=", "==", "!=", "!", "<", ">", "(", ")", ","])))
@example(["a", "in", "(", ",", ",", "a", ")"])
@example(["a", "in", "(", "a", ",", ",", ")"])
@example(["!", "a", "in", "(", ")"])
def test_the_parser_accepts_the_language_and_nothing_else(parts):
    try:
        selector.parse(" ".join(parts))
    except SelectorError:
        accepted = False
    else:
        accepted = True
    assert accepted == bool(LANGUAGE.fullmatch("".join(SIGNS.get(part, part) for part in parts)))


WORDS = st.sampled_from(["a", "b", "in", "notin", "5", "x.y/z"])
VALUES = st.sampled_from(["", "a", "b", "5", "12", "in", "notin"])
REQUIREMENTS = st.one_of(
    st.builds(Requirement, WORDS, st.sampled_from([Operator.EXISTS, Operator.DOES_NOT_EXIST])),
    st.builds(
        lambda key, operator, value: Requirement(key, operator, (value,)),
        WORDS,
        st.sampled_from([Operator.EQUALS, Operator.DOUBLE_EQUALS, Operator.NOT_EQUALS]),
        VALUES,
    ),
    st.builds(
        lambda key, operator, values: Requirement(key, operator, tuple(sorted(values))),
        WORDS,
        st.sampled_from([Operator.IN, Operator.NOT_IN]),
        st.sets(VALUES, min_size=1),
    ),
    st.builds(
        lambda key, operator, value: Requirement(key, operator, (str(value),)),
        WORDS,
        st.sampled_from([Operator.GREATER, Operator.LESS]),
        st.integers(0, 20),
    ),
)
LABELS = st.dictionaries(WORDS, st.sampled_from(["", "a", "b", "5", "12", "in", "-7", "x"]))


def written(requirement: Requirement, space: str) -> str:
    match requirement.operator:
        case Operator.EXISTS:
            return requirement.key
        case Operator.DOES_NOT_EXIST:
            return f"!{space}{requirement.key}"
        case Operator.IN | Operator.NOT_IN:
            listed = f"{space},{space}".join(requirement.values)
            return f"{requirement.key} {requirement.operator.value}{space}({listed})"
        case _:
            return f"{requirement.key}{space}{requirement.operator.value}{space}{requirement.values[0]}"


def slowly(requirement: Requirement, labels: dict[str, str]) -> bool:
    """By the table of the API documentation."""
    present, value = requirement.key in labels, labels.get(requirement.key)
    table = {
        Operator.EXISTS: present,
        Operator.DOES_NOT_EXIST: not present,
        Operator.EQUALS: present and value in requirement.values,
        Operator.DOUBLE_EQUALS: present and value in requirement.values,
        Operator.IN: present and value in requirement.values,
        Operator.NOT_EQUALS: not present or value not in requirement.values,
        Operator.NOT_IN: not present or value not in requirement.values,
    }
    if requirement.operator in table:
        return table[requirement.operator]
    if not present or not re.fullmatch(r"-?\d+", value or ""):
        return False
    difference = int(value or "") - int(requirement.values[0])
    return difference > 0 if requirement.operator is Operator.GREATER else difference < 0


@settings(max_examples=500)
@given(st.lists(REQUIREMENTS, max_size=4), LABELS, st.sampled_from(["", " ", "\t "]))
def test_a_written_selector_is_read_back_and_selects_as_the_slow_reference_does(requirements, labels, space):
    text = f"{space},{space}".join(written(each, space) for each in requirements)
    read = selector.parse(text)
    assert sorted(read.requirements, key=repr) == sorted(requirements, key=repr)
    assert read.matches(labels) == all(slowly(each, labels) for each in requirements)
    assert bool(read) == bool(requirements)


@settings(max_examples=500)
@given(st.text(st.sampled_from("ab5in=!<>(), \t\0/.\x80é\udc80")))
def test_any_text_is_a_selector_or_is_refused(text):
    with contextlib.suppress(SelectorError):
        assert isinstance(selector.parse(text), LabelSelector)


FIELDS = {"metadata.name": "web-1", "metadata.namespace": "default"}


@pytest.mark.parametrize(
    ("text", "selected"),
    [
        ("", True),
        (",", True),
        ("metadata.name=web-1", True),
        ("metadata.name==web-1", True),
        ("metadata.name=web-2", False),
        ("metadata.name!=web-2,metadata.namespace=default", True),
        ("metadata.namespace!=default", False),
        ("metadata.name=", False),
        (r"metadata.name=web\,1", False),
    ],
)
def test_a_field_selector_selects_by_name_and_namespace(text, selected):
    assert fieldselector.parse(text).matches(FIELDS) is selected


def test_a_node_has_no_namespace_which_counts_as_empty():
    assert fieldselector.parse("metadata.namespace=").matches({"metadata.name": "node-a"})
    assert not fieldselector.parse("metadata.namespace=default").matches({"metadata.name": "node-a"})


def test_a_value_of_a_field_selector_is_unescaped():
    assert fieldselector.parse(r"metadata.name=a\,b\=c\\d").matches({"metadata.name": r"a,b=c\d"})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("web-1", "invalid selector: 'web-1'; can't understand 'web-1'"),
        ("spec.x=1", '"spec.x" is not a known field selector: only "metadata.name", "metadata.namespace"'),
        ("metadata.name=a=b", "invalid field selector: unescaped character in value: 61"),
        (r"metadata.name=a\b", r"invalid field selector: invalid escape sequence: \b"),
        ("metadata.name=a\\", "invalid field selector: invalid escape sequence: \\"),
    ],
)
def test_what_is_no_field_selector_is_refused(text, words):
    with pytest.raises(SelectorError) as refusal:
        fieldselector.parse(text)
    assert str(refusal.value) == words
