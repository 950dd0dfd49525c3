"""YAML on the command line is JSON's other spelling."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.cli.yaml_text import BadYaml, dump, load, load_all

TEXTS = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\x00"), max_size=12)
WORDS = st.sampled_from(
    ["on", "yes", "no", "true", "null", "~", "",
     "12:30", "2026-01-01", "1e3", "1.", ".5", "010", "0x1f", "<<", "=", "1_0"]
)  # fmt: skip
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS
    | WORDS
)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS | WORDS, inner, max_size=3)
)


@settings(max_examples=60, deadline=None)
@given(VALUES)
def test_what_is_written_is_read_again(value):
    assert load(dump([value])) == [value]


def test_only_what_json_has_a_value_for_is_more_than_a_text():
    text = "{a: on, b: 12:30, c: 2026-01-01T00:00:00Z, d: 010, e: 1e3, f: true, g: null, h: , 1: ~, i: .inf, j: 0x1f}"
    assert load(text) == {
        "a": "on", "b": "12:30", "c": "2026-01-01T00:00:00Z", "d": 10, "e": 1000.0, "f": True, "g": None, "h": None,
        "1": None, "i": ".inf", "j": "0x1f",
    }  # fmt: skip


def test_documents_are_apart_and_anchors_are_merged():
    assert load_all("---\na: 1\n---\n---\nb: 2\n") == [{"a": 1}, {"b": 2}]
    assert load("- &base {a: 1, b: 2}\n- {<<: *base, b: 3}") == [{"a": 1, "b": 2}, {"a": 1, "b": 3}]


@pytest.mark.parametrize(
    "text",
    ["a: 1\na: 2", "? [a]\n: 1", "{", "a: !!python/object:os.system x", "a: *b",
     "a: 1\n---\nb: 2", "[" * 800, "a\x00b"],
)  # fmt: skip
def test_what_is_none_is_refused_with_a_sentence(text):
    with pytest.raises(BadYaml, match=r"\w"):
        load(text)
