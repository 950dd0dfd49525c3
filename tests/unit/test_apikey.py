"""API keys by themselves: what a command leads to, what events come to, who may what."""

from datetime import UTC, datetime, timedelta

import pytest

from shared.domain import apikey
from shared.domain.apikey import ApiKey, Revocation
from shared.domain.commands import IssueApiKey, RevokeApiKey
from shared.domain.events import ApiKeyIssued, ApiKeyRevoked, Change
from shared.domain.refusals import IllegalTransition, NoSuchApiKey
from shared.domain.roles import ROLES, allows, is_subject, is_tenant
from shared.eventlog import snapshot
from shared.eventlog.snapshot import Snapshot

NOW = datetime(2026, 5, 1, tzinfo=UTC)
KEY = apikey.made_of("x" * 43)
HASH = apikey.digest(KEY)
FIELDS = {
    "id": "0198a5b0-0000-8000-8000-000000000000",
    "hash": HASH,
    "prefix": apikey.shown(KEY),
    "name": "ci",
    "role": "editor",
    "tenant": "acme",
    "owner": "ann",
}
ISSUE = IssueApiKey(**FIELDS, by="root", expires_at=NOW + timedelta(days=1))
LIVE = ApiKey(**FIELDS, issued_at=NOW, expires_at=NOW + timedelta(days=1))


def after(key, command, now=NOW):
    for change in apikey.decide(key, command, now).changes:
        key = apikey.evolve(key, change)
    return key


def test_a_key_is_issued_and_revoked():
    assert after(None, ISSUE) == LIVE
    revoked = after(LIVE, RevokeApiKey(by="root"), NOW + timedelta(hours=1))
    assert revoked.revoked == Revocation(by="root", at=NOW + timedelta(hours=1))
    assert not apikey.decide(revoked, RevokeApiKey(by="eve"), NOW).changes


def test_its_events_are_about_its_hash_and_none_has_the_key():
    (change,) = apikey.decide(None, ISSUE, NOW).changes
    assert change.subject == f"apikey:{HASH}"
    assert isinstance(change.event, ApiKeyIssued)
    assert KEY not in repr(change)
    (change,) = apikey.decide(LIVE, RevokeApiKey(by="root"), NOW).changes
    assert change == Change(subject=f"apikey:{HASH}", event=ApiKeyRevoked(by="root", revoked_at=NOW))


def test_what_does_not_fit_is_refused():
    with pytest.raises(IllegalTransition):
        apikey.decide(LIVE, ISSUE, NOW)
    with pytest.raises(NoSuchApiKey):
        apikey.decide(None, RevokeApiKey(by="root"), NOW)


def test_a_key_opens_until_it_expires_or_is_revoked():
    assert LIVE.opens_at(NOW + timedelta(hours=23))
    assert not LIVE.opens_at(NOW + timedelta(days=1))
    assert not after(LIVE, RevokeApiKey(by="root")).opens_at(NOW)
    assert ApiKey(**FIELDS, issued_at=NOW, expires_at=None).opens_at(NOW + timedelta(days=10_000))


def test_a_snapshot_gives_back_what_was_put_in():
    text = snapshot.dump_apart(LIVE).encode()
    assert snapshot.read(f"apikey:{HASH}", b"1-2", text, b"", b"") == Snapshot(state=LIVE, version="1-2")
    assert snapshot.dump_spec(LIVE) == ""


def test_keys_spread_over_the_partitions():
    stand = {apikey.partition_of(apikey.digest(f"dbk_{number}"), 4) for number in range(100)}
    assert stand == {0, 1, 2, 3}


def test_each_role_may_what_those_before_it_may():
    table = {needed: [role for role in ROLES if allows(role, needed)] for needed in ROLES}
    assert table == {
        "viewer": ["viewer", "operator", "editor", "admin"],
        "operator": ["operator", "editor", "admin"],
        "editor": ["editor", "admin"],
        "admin": ["admin"],
    }


def test_nobody_is_called_like_a_part_of_the_system():
    assert [is_subject(name) for name in ("ann@acme.org", "auth0|7", "a b", "", "timer", "anonymous", "é")] == [
        True, True, False, False, False, False, False,
    ]  # fmt: skip
    assert [is_tenant(name) for name in ("acme", "a/b", "", "x" * 101)] == [True, False, False, False]
