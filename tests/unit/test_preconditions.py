"""Entity tags as RFC 9110 has them, and what requests are made to depend on."""

import pytest

from services.api.answers import unchanged
from services.api.preconditions import BadTags, Tag, is_known, revisions, tags
from services.api.problems import Problem

ETAG = '"3.1700-12"'


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ('"a"', (Tag("a"),)),
        ('""', (Tag(""),)),
        ('W/"a"', (Tag("a", weak=True),)),
        ('"a", W/"b","c"', (Tag("a"), Tag("b", weak=True), Tag("c"))),
        (' "a" ,, "b" , ', (Tag("a"), Tag("b"))),
        ('"a,b"', (Tag("a,b"),)),
        ("*", None),
        (" * ", None),
    ],
)
def test_a_list_of_tags_is_read(header, found):
    assert tags(header) == found


@pytest.mark.parametrize(
    "header", ["", ",", "a", '"a', 'a"', '"a" "b"', '"a"b', 'w/"a"', '*, "a"', '"a", *', '"a b"']
)
def test_anything_else_is_refused(header):
    with pytest.raises(BadTags):
        tags(header)


@pytest.mark.parametrize(
    ("sent", "known"),
    [
        ([], False),
        ([ETAG], True),
        ([f"W/{ETAG}"], True),
        (['"x"', f'"y", {ETAG}'], True),
        (["*"], True),
        (['"3.1700-13"'], False),
        (['"3"'], False),
        (['"x"'], False),
    ],
)
def test_if_none_match_compares_all_of_the_tag_weakly(sent, known):
    assert is_known(ETAG, sent) is known


@pytest.mark.parametrize(
    ("sent", "wanted"),
    [
        ([], None),
        (["*"], None),
        ([ETAG], (3,)),
        (['"3"'], (3,)),
        ([f'{ETAG}, "4.9-9"', '"5.1-1"'], (3, 4, 5)),
        ([f"W/{ETAG}"], ()),
        (['"x"'], ()),
        (['"3x"'], ()),
        ([f'W/"4.1-1", {ETAG}'], (3,)),
    ],
)
def test_if_match_compares_the_revision_of_strong_tags(sent, wanted):
    assert revisions(sent, required=False) == wanted


def test_if_match_may_be_required():
    with pytest.raises(Problem) as caught:
        revisions([], required=True)
    assert (caught.value.status, caught.value.slug) == (428, "precondition-required")
    assert revisions(["*"], required=True) is None


@pytest.mark.parametrize("ask", [lambda: revisions(["1"], required=False), lambda: is_known(ETAG, ["1"])])
def test_what_is_no_tag_is_a_problem_that_says_so(ask):
    with pytest.raises(Problem, match="double quotes") as caught:
        ask()
    assert caught.value.status == 422


def test_an_answer_without_a_content_describes_none():
    response = unchanged(ETAG)
    assert (response.status_code, dict(response.headers)) == (304, {"ETag": ETAG})
