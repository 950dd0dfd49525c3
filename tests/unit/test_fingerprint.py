"""Messages are alike if they differ only in values: numbers, ids, addresses, paths, what is quoted."""

import pytest

from services.projector.fingerprint import fingerprint

ALIKE = {
    "numbers": ("no route to host 7", "no route to host 12"),
    "decimals and signs": ("took 1.5 s, limit -3", "took 22.75 s, limit -40"),
    "numbers within words": ("worker7 is gone", "worker12 is gone"),
    "ids": (
        "run 01a20a7f-3775-8000-b406-3d54fdf57110 is queued",
        "run 01A20A7F-3775-8000-B406-3D54FDF57111 is queued",
    ),
    "addresses in memory": ("<Widget object at 0x7f38768f2a10>", "<Widget object at 0x55aa>"),
    "hashes": ("object 9fceb02d0ae598e95dc970b74767f19372d61af8", "object 1a410efbd13591db07496601ebc7a059dd55cfe9"),
    "paths": ("no such file: /srv/files/a.csv", "no such file: /var/lib/daybook/b-2.csv"),
    "quoted": ("no such key: 'alpha'", "no such key: 'beta gamma'"),
    "double quoted": ('column "a" is missing', 'column "b.c" is missing'),
    "empty and quoted": ("no such key: ''", "no such key: 'x'"),
    "ports and hosts": ("connect to 10.0.0.7:5432 failed", "connect to 192.168.1.20:6432 failed"),
    "times": ("due at 2026-11-27T03:17:55Z", "due at 2027-01-02T13:00:01Z"),
    "spaces and lines": ("a  problem\nhere", "a problem here"),
}  # fmt: skip
NOT_ALIKE = {
    "other words": ("no route to host 7", "no route to network 7"),
    "words made of hex letters": ("deed added", "face added"),
    "one word more": ("disk full", "disk almost full"),
    "a value more": ("lost 1", "lost 1 2"),
    "case": ("Disk full", "disk full"),
    "nothing": ("", "7"),
    "what is around a quote": ("no such key: 'a'", "no such file: 'a'"),
}


@pytest.mark.parametrize(("one", "two"), ALIKE.values(), ids=ALIKE)
def test_messages_that_differ_in_values_are_alike(one, two):
    assert fingerprint("OSError", one) == fingerprint("OSError", two)


@pytest.mark.parametrize(("one", "two"), NOT_ALIKE.values(), ids=NOT_ALIKE)
def test_messages_that_differ_in_words_are_not(one, two):
    assert fingerprint("OSError", one) != fingerprint("OSError", two)


def test_the_class_tells_failures_apart():
    assert fingerprint("OSError", "no") != fingerprint("ValueError", "no")
    assert fingerprint("A", "B no") != fingerprint("A B", "no")


def test_a_fingerprint_is_short_and_stays_what_it_is():
    """It stands in rows: with another rule, old dead letters would be told apart from new ones."""
    assert fingerprint("OSError", "no route to host 7") == "73df7bd2dadc"


@pytest.mark.parametrize(
    "message", ["\ud800 broken", "x" * 2_000, "'" * 2_000, "/a" * 1_000, "0" * 2_000 + "g", "é€😀"]
)
def test_any_message_has_one(message):
    assert len(fingerprint("OSError", message)) == 12
