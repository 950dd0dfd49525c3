"""Merging JSON and telling it apart."""

import pytest

from services.api.json_patch import differences, merged


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [  # RFC 7396, appendix A
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_a_patch_is_merged_as_the_standard_has_it(target, patch, result):
    before = repr((target, patch))
    assert merged(target, patch) == result
    assert repr((target, patch)) == before


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ({}, {}, []),
        ({"a": 1}, {"a": 1.0}, []),
        ({"a": 1}, {"a": 2}, [{"pointer": "/a", "from": 1, "to": 2}]),
        ({"a": 1}, {"a": True}, [{"pointer": "/a", "from": 1, "to": True}]),
        ({"a": [0]}, {"a": [False]}, [{"pointer": "/a", "from": [0], "to": [False]}]),
        ({"a": None}, {}, [{"pointer": "/a", "from": None}]),
        ({}, {"a": None}, [{"pointer": "/a", "to": None}]),
        ({"a": [1, 2]}, {"a": [2, 1]}, [{"pointer": "/a", "from": [1, 2], "to": [2, 1]}]),
        ({"a": [{"b": 1}]}, {"a": [{"b": 1}]}, []),
        (
            {"b": {"x/y": 1, "~": 2}, "a": {"c": 1}},
            {"b": {"x/y": 2, "~": 3}, "a": 5},
            [
                {"pointer": "/a", "from": {"c": 1}, "to": 5},
                {"pointer": "/b/x~1y", "from": 1, "to": 2},
                {"pointer": "/b/~0", "from": 2, "to": 3},
            ],
        ),
        (1, 2, [{"pointer": "", "from": 1, "to": 2}]),
    ],
)
def test_what_differs_is_told_by_pointer(old, new, found):
    assert list(differences(old, new)) == found
