"""What the manual promises to whoever reads the log with a Redis client of their own: key, ids, fields, values.

The golden entries are a contract with readers that nobody here knows: who changes one raises the event's `VERSION`,
writes an upcaster, and says so in CHANGELOG.md.
"""

import re
import shlex
from pathlib import Path

import pytest

from shared.domain import ids
from shared.domain.commands import CreateJob, TriggerJob
from shared.domain.events import JobCreated, RunRequested
from shared.eventlog import snapshot
from shared.eventlog.decider import Decider
from shared.eventlog.envelope import Context, decode, encode
from shared.eventlog.keys import Keys
from shared.testing import LEASE, NOON, a_spec

MANUAL = Path(__file__).parents[2] / "MANUAL.md"
CHANCE = 0x0123_4567_89AB_CDEF_0123
JOB_ID = ids.chance_id(NOON, 0, CHANCE)
RUN_ID = ids.chance_id(NOON, 0, CHANCE + 1)
REQUEST = Context(actor="ann", cause="cause-1", corr="request-1", trace="00-4bf92f35-00f067aa-01")

RETRY = '"retry":{"max_retries":3,"initial_seconds":1.0,"multiplier":2.0,"max_seconds":300.0,"jitter":0.1}'
DATA = '"job_data":{"operation":"echo","parameters":{}}'
CREATED = (
    f'{{"spec":{{"name":"a job","job_type":"custom",{DATA},"schedule":{{"interval_seconds":10,"timezone":"UTC"}},'
    f'"timeout_seconds":3600,{RETRY},"priority":5,"queue":"default","misfire_policy":"latest",'
    '"misfire_grace_seconds":60,"overlap_policy":"skip","max_lost":3},"owner":"ann","tenant":"t",'
    '"created_at":"2026-11-23T12:00:00Z","anchor_at":"2026-11-23T12:00:00Z","next_for":"2026-11-23T12:00:10Z"}'
)
REQUESTED = (
    '{"job_id":"01a20846-fe00-8000-8567-89abcdef0123","scheduled_for":"2026-11-23T12:00:00Z",'
    '"fires_at":"2026-11-23T12:00:00Z","trigger":"manual","revision":1,'
    f'"spec":{{"job_name":"a job","job_type":"custom",{DATA},"timeout_seconds":3600,{RETRY},"priority":5,'
    '"queue":"default","max_lost":3,"timezone":"UTC"},"follows":true,"correlation_id":"request-1",'
    '"requested_at":"2026-11-23T12:00:00Z"}'
)
COMMON = [
    ("actor", "ann"),
    ("cause", "cause-1"),
    ("corr", "request-1"),
    ("trace", "00-4bf92f35-00f067aa-01"),
]
AT = "<Redis's time>"
GOLDEN = [
    [
        ("id", "01a20846-fe00-748d-8567-89abcdef0123"),
        ("type", "JobCreated"),
        ("v", "4"),
        ("subject", "job/01a20846-fe00-8000-8567-89abcdef0123"),
        ("job", ""),
        ("advances", "subject"),
        ("at", AT),
        *COMMON,
        ("data", CREATED),
    ],
    [
        ("id", "01a20846-fe00-748d-8567-89abcdef0123"),  # the same: chance stands still here
        ("type", "RunRequested"),
        ("v", "5"),
        ("subject", "run/01a20846-fe00-8000-8567-89abcdef0124"),
        ("job", "01a20846-fe00-8000-8567-89abcdef0123"),
        ("advances", "both"),
        ("at", AT),
        *COMMON,
        ("data", REQUESTED),
    ],
]


# Up to these versions, what meant nothing was written out, too.
RETRY_THEN = RETRY[:-1] + ',"retry_on":[],"give_up_on":[]}'
CREATED_3 = (
    f'{{"spec":{{"name":"a job","description":"","tags":[],"job_type":"custom",{DATA},'
    '"schedule":{"cron_expression":null,"interval_seconds":10,"run_at":null,"timezone":"UTC",'
    '"dst_policy":null,"start_at":null,"end_at":null,"max_runs":null},'
    f'"timeout_seconds":3600,{RETRY_THEN},"priority":5,"queue":"default","misfire_policy":"latest",'
    '"misfire_grace_seconds":60,"overlap_policy":"skip","start_deadline_seconds":null,"max_lost":3},'
    '"owner":"ann","tenant":"t","created_at":"2026-11-23T12:00:00Z","anchor_at":"2026-11-23T12:00:00Z",'
    '"next_for":"2026-11-23T12:00:10Z"}'
)
REQUESTED_4 = (
    '{"job_id":"01a20846-fe00-8000-8567-89abcdef0123","scheduled_for":"2026-11-23T12:00:00Z",'
    '"fires_at":"2026-11-23T12:00:00Z","trigger":"manual","of":null,"revision":1,'
    f'"spec":{{"job_name":"a job","job_type":"custom",{DATA},"timeout_seconds":3600,{RETRY_THEN},"priority":5,'
    '"queue":"default","start_deadline_seconds":null,"max_lost":3,"timezone":"UTC"},"held":false,"follows":true,'
    '"correlation_id":"request-1","requested_at":"2026-11-23T12:00:00Z","next_for":null,"clock":[]}'
)
LIMITS = (',"start_deadline_seconds":null,"max_lost":3', "")
WINDOW = (',"dst_policy":null,"start_at":null,"end_at":null,"max_runs":null', "")
ZONE = (',"timezone":"UTC"},"held"', '},"held"')
# Of each type: an entry of today, one of the last version that was written otherwise, and what each version up to that
# had added, the newest first, with what stood there before.
EARLIER = {
    JobCreated: (CREATED, 3, CREATED_3, (WINDOW, LIMITS)),
    RunRequested: (REQUESTED, 4, REQUESTED_4, ((',"clock":[]', ""), ZONE, LIMITS)),
}


@pytest.mark.parametrize("kind", EARLIER, ids=lambda kind: kind.__name__)
def test_an_entry_of_an_earlier_version_is_read_as_what_it_means_now(kind):
    text, last, earlier, added = EARLIER[kind]
    now = decode(kind.__name__, kind.VERSION, text)
    assert encode(now) == text
    assert last == kind.VERSION - 1
    assert decode(kind.__name__, last, earlier) == now
    for version, (new, old) in zip(range(last - 1, 0, -1), added, strict=True):
        assert earlier.count(new) == 1
        earlier = earlier.replace(new, old)
        assert decode(kind.__name__, version, earlier) == now


@pytest.fixture
async def written(bench, monkeypatch):
    """A log in which a job was created and triggered at NOON; only Redis's own clock goes on."""
    monkeypatch.setattr(bench.log, "now", lambda *_: NOON)
    decider = Decider(bench.log, lease=LEASE, chance=lambda: CHANCE)
    create = CreateJob(job_id=JOB_ID, spec=a_spec(every=10), owner="ann", tenant="t")
    await decider.decide(f"job:{JOB_ID}", create, REQUEST, held=snapshot.NOTHING)
    await decider.decide(f"job:{JOB_ID}", TriggerJob(run_id=RUN_ID, correlation_id="request-1"), REQUEST)
    return bench


async def read_as_told(bench):
    """What the command of the manual answers, on the log of this test."""
    (command,) = re.findall(r"^redis-cli .* (XRANGE .*)$", section(), re.MULTILINE)
    name, key, *arguments = shlex.split(command)
    assert key == Keys("daybook", 0).log
    return await bench.redis.execute_command(name, key.replace("daybook", bench.prefix, 1), *arguments)


def section():
    """The manual's section about the log."""
    return MANUAL.read_text().partition("## Read the log yourself\n")[2]


async def test_an_entry_of_the_log_is_what_it_was_when_the_golden_one_was_written(written):
    _, *entries = await read_as_told(written)
    stood_at = [dict(fields)[b"at"].decode() for _, fields in entries]
    assert all(re.fullmatch(r"\d{13}", at) for at in stood_at)
    seen = [[(name.decode(), value.decode()) for name, value in fields.items()] for _, fields in entries]
    assert seen == [
        [(name, at if value is AT else value) for name, value in entry]
        for entry, at in zip(GOLDEN, stood_at, strict=True)
    ]


async def test_an_entrys_id_is_the_epoch_and_a_number_that_grows_by_one(written):
    entries = await read_as_told(written)
    epochs, positions = zip(*(entry.decode().split("-") for entry, _ in entries), strict=True)
    assert len(set(epochs)) == 1
    assert re.fullmatch(r"\d{13}", epochs[0])
    assert positions == ("1", "2", "3")


async def test_the_log_begins_with_its_opening(written):
    (_, fields), *_ = await read_as_told(written)
    assert (fields[b"type"], fields[b"subject"], fields[b"job"]) == (b"LogOpened", b"log", b"")
    assert re.fullmatch(
        rb'\{"epoch":\d{13},"reason":"first","previous":null,"partitions":2\}', fields[b"data"]
    )


def test_readme_explains_each_field_in_the_order_of_the_entry():
    explained = re.findall(r"^\| (`[^|]*) \|", section(), re.MULTILINE)
    named = [name for cell in explained for name in re.findall(r"`(\w+)`", cell)]
    assert named == [name for name, _ in GOLDEN[0]]


@pytest.mark.parametrize("partition", range(4))
def test_readme_names_the_key_of_each_partition_of_a_new_deployment(partition):
    assert f"`{{{Keys('', partition).log.split('{')[1].split('}')[0]}}}`" in section()
