"""Sealed values: what they open to, where, by which key; and that they tell nothing by themselves."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.personal.sealing import (
    ERASED,
    KEY,
    NotOpened,
    Place,
    has_sealed,
    is_sealed,
    jobs_of,
    open_value,
    opened,
    opened_at,
    seal,
    seal_text,
)

JOB, OTHER = "01890a5d-ac96-8000-8000-000000000001", "01890a5d-ac96-8001-8000-000000000002"
KEYS = {JOB: b"k" * 32, OTHER: b"o" * 32}
WHERE = Place(JOB, "job_data/recipient")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(JSON, st.text(max_size=20))
def test_a_sealed_value_opens_to_what_it_was(value, field):
    where = Place(JOB, field)
    expected = json.loads(json.dumps(value).encode().decode(errors="replace"))
    try:
        json.dumps(value, ensure_ascii=False).encode()
        field.encode()
    except UnicodeEncodeError:
        return  # half a character: replaced, as everywhere
    sealed = seal(value, KEYS[JOB], where)
    assert is_sealed(sealed)
    assert expected == open_value(sealed, KEYS[JOB], where) == opened(sealed, KEYS)


def test_half_a_character_is_replaced():
    assert open_value(seal("a\ud800b", KEYS[JOB], WHERE), KEYS[JOB], WHERE) == "a?b"


def test_equal_values_are_sealed_alike_whatever_the_order_of_their_names():
    assert seal({"a": 1, "b": 2}, KEYS[JOB], WHERE) == seal({"b": 2, "a": 1}, KEYS[JOB], WHERE)


@pytest.mark.parametrize(
    ("key", "where"),
    [
        (KEYS[OTHER], WHERE),
        (KEYS[JOB], Place(OTHER, WHERE.field)),
        (KEYS[JOB], Place(JOB, "job_data/cc")),
    ],
    ids=["another key", "another job", "another field"],
)
def test_it_differs_by_key_job_and_field_and_opens_nowhere_else(key, where):
    sealed = seal("anna@example.com", KEYS[JOB], WHERE)
    assert sealed != seal("anna@example.com", key, where)
    with pytest.raises(NotOpened):
        open_value(sealed, key, where)


def test_it_does_not_show_what_it_holds():
    text = seal("anna@example.com", KEYS[JOB], WHERE)[KEY]
    stored = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    assert b"anna" not in stored
    assert "anna" not in text


def test_a_changed_byte_opens_nothing():
    text = seal("anna@example.com", KEYS[JOB], WHERE)[KEY]
    for at in range(len(text)):
        other = text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :]
        with pytest.raises(NotOpened):
            open_value({KEY: other}, KEYS[JOB], WHERE)


@pytest.mark.parametrize("text", ["", "A", "*", "é", "AQ", "A" * 200], ids=repr)
def test_what_was_never_sealed_stays_as_it_is_in_views_and_opens_nowhere(text):
    value = {"a": [{KEY: text}]}
    assert value == opened(value, KEYS)
    assert set() == jobs_of(value) or text == "A" * 200
    with pytest.raises(NotOpened):
        opened_at(value, KEYS[JOB], Place(JOB, "job_data"))


def test_a_view_opens_each_value_by_the_key_of_its_job():
    mixed = [
        {"to": seal("anna", KEYS[JOB], WHERE), "plain": 1},
        {"to": seal("bert", KEYS[OTHER], Place(OTHER, "result"))},
    ]
    assert {JOB, OTHER} == jobs_of(mixed)
    assert opened(mixed, KEYS) == [{"to": "anna", "plain": 1}, {"to": "bert"}]
    assert [{"to": "anna", "plain": 1}, mixed[1]] == opened(mixed, {JOB: KEYS[JOB]})
    assert opened(mixed, KEYS | {JOB: ERASED}) == [{"to": {"$erased": True}, "plain": 1}, {"to": "bert"}]


def test_what_is_opened_is_not_opened_again():
    inner = seal("anna", KEYS[JOB], WHERE)
    outer = seal({"said": inner}, KEYS[JOB], Place(JOB, "result"))
    assert {"said": inner} == opened(outer, KEYS)


def test_whoever_works_with_data_gets_all_of_it_or_nothing():
    data = {"to": [seal("anna", KEYS[JOB], Place(JOB, "job_data/to/0"))], "plain": {"a/b": 1}}
    assert opened_at(data, KEYS[JOB], Place(JOB, "job_data")) == {"to": ["anna"], "plain": {"a/b": 1}}
    with pytest.raises(NotOpened):
        opened_at(data, ERASED, Place(JOB, "job_data"))
    moved = {"cc": data["to"]}
    with pytest.raises(NotOpened):
        opened_at(moved, KEYS[JOB], Place(JOB, "job_data"))


def test_data_without_a_sealed_part_has_none():
    assert not has_sealed({"a": [1, {"$secret": "X"}, {KEY: 1}, {KEY: "x", "more": 1}]})
    assert has_sealed({"a": [1, {"b": seal(1, KEYS[JOB], WHERE)}]})


def test_a_text_is_opened_for_views_and_never_for_who_works_with_data():
    """Data may hold such a text: whoever wrote it is not to get the value that it has from elsewhere."""
    text = seal_text("anna is unknown", KEYS[JOB], Place(JOB, "error"))
    assert "anna" not in text
    assert opened({"error": {"message": text}}, KEYS) == {"error": {"message": "anna is unknown"}}
    assert opened(text, {JOB: ERASED}) == '{"$erased":true}'
    assert text == opened(text, {})
    assert {JOB} == jobs_of([text])
    assert not has_sealed({"note": text})
    assert {"note": text} == opened_at({"note": text}, KEYS[JOB], Place(JOB, "job_data"))


def test_texts_are_opened_within_a_sentence():
    """What explains a run tells what it failed of."""
    first, other = (
        seal_text(said, KEYS[job], Place(job, "error"))
        for said, job in (('no "anna" \\1', JOB), ("bert", OTHER))
    )
    sentence = f"attempt 1 failed: OSError: {first}; then: {other}."
    assert {JOB, OTHER} == jobs_of({"said": sentence})
    assert opened(sentence, KEYS) == 'attempt 1 failed: OSError: no "anna" \\1; then: bert.'


def test_a_text_that_holds_another_thing_stays_as_it_is():
    value = '{"$personal":"' + seal({"a": 1}, KEYS[JOB], WHERE)[KEY] + '"}'
    assert value == opened(value, KEYS)
    assert opened('{"$personal":"x"}', KEYS) == '{"$personal":"x"}'
