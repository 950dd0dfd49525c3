"""A Cluster is known by its address, and each command by its key."""

import pytest
from redis.exceptions import ResponseError

from shared.eventlog.cluster import key_of, keys_of
from shared.eventlog.keys import TAGS, Keys
from shared.eventlog.topology import slot_of, told_slots
from shared.faults import is_broken
from shared.redis_url import Address, is_cluster, of_node, seeds
from shared.settings import BadSettings, load

CLUSTER = "redis+cluster://ann:s3cret@one:7001,two,[::1]:7003/0?health_check_interval=1"


def test_a_cluster_is_told_from_a_server_by_the_scheme_alone():
    assert is_cluster(CLUSTER)
    assert is_cluster("rediss+cluster://one:7001")
    assert not is_cluster("redis://one:7001/0")
    assert not is_cluster(None)


def test_each_node_is_reached_as_the_whole_is():
    assert seeds(CLUSTER) == (Address("one", 7001), Address("two", 6379), Address("::1", 7003))
    rest = "/0?health_check_interval=1"
    assert of_node(CLUSTER, Address("ten", 1)) == f"redis://ann:s3cret@ten:1{rest}"
    assert of_node("rediss+cluster://a:1", Address("::1", 2)) == "rediss://[::1]:2/0"


@pytest.mark.parametrize(
    "url",
    [
        "redis://one:7001,two:7002",  # several servers that aren't said to be a Cluster
        "redis+cluster://",
        "redis+cluster://one:port",
        "redis+cluster://one:7001/3",  # a Cluster has but one database
        "redis+cluster://:s3cret@one:7001,",
    ],
)
def test_what_is_no_address_is_refused_without_its_password(monkeypatch, url):
    monkeypatch.setenv("DAYBOOK_REDIS_URL", url)
    with pytest.raises(
        BadSettings, match=r"DAYBOOK_REDIS_URL.*redis\+cluster://host:7001,host:7002"
    ) as refused:
        load()
    assert "s3cret" not in str(refused.value)


def test_there_are_64_partitions_on_a_cluster_unless_told(monkeypatch):
    monkeypatch.setenv("DAYBOOK_REDIS_URL", "redis://one:7001/0")
    assert load().partitions == 4
    monkeypatch.setenv("DAYBOOK_REDIS_URL", CLUSTER)
    assert load().partitions == len(TAGS) == 64
    monkeypatch.setenv("DAYBOOK_PARTITIONS", "8")
    assert load().partitions == 8


@pytest.mark.parametrize(
    ("command", "key"),
    [
        (("HMGET", "k", "f"), "k"),
        (("BLPOP", "k", "l", "1"), "k"),
        (("EVALSHA", "0" * 40, 2, "k", "l", "argument"), "k"),
        (("XREAD", "COUNT", 5, "BLOCK", 10, "STREAMS", "k", "0-0"), "k"),
        (("XREADGROUP", "GROUP", "g", "c", "STREAMS", b"k", ">"), b"k"),
        (("XINFO STREAM", "k"), "k"),
        (("XINFO", "STREAM", "k"), "k"),
        (("PUBLISH", "channel", "text"), "channel"),
        (("EVALSHA", "0" * 40, 0), None),
        (("SCRIPT", "LOAD", "return 1"), None),
        (("CONFIG GET", "appendonly"), None),
        (("TIME",), None),
    ],
)
def test_a_command_goes_where_its_key_is(command, key):
    assert key_of(command) == key


def test_what_names_no_key_goes_with_what_does():
    assert keys_of([("TIME",), ("GET", "a"), ("INFO",), ("GET", "b")]) == ["a", "a", "a", "b"]
    with pytest.raises(ValueError, match="TIME names no key"):
        keys_of([("TIME",)])


def test_all_keys_of_a_partition_are_in_one_slot():
    for partition in range(len(TAGS)):
        keys = Keys("daybook", partition)
        names = (keys.meta, keys.log, keys.due, keys.never, keys.aggregate("job:1"), keys.work("q", 5))
        assert len({slot_of(name) for name in names}) == 1


@pytest.mark.parametrize(
    ("words", "passes"),
    [
        (
            "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)",
            True,
        ),
        ("ERR Script attempted to access a non local key in a cluster node", True),
        ("ERR Script attempted to access keys that do not hash to the same slot", False),
    ],
)
def test_what_a_cluster_says_while_it_changes_passes_and_a_defect_does_not(words, passes):
    assert is_broken(ResponseError(words)) is passes


def test_a_node_that_does_not_know_its_name_is_where_it_was_asked():
    told = [[0, 1, [b"", 7001, b"id"], [b"two", 7002, b"id"]], [2, 2, [b"three", 7003, b"id"]]]
    masters, replicas = told_slots(Address("one", 9), told)
    assert masters == {0: Address("one", 7001), 1: Address("one", 7001), 2: Address("three", 7003)}
    assert replicas == {Address("two", 7002)}
