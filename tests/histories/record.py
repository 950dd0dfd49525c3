"""Keeps what this build writes, so that every later build can be held against it: never rewrites what is kept.

    python -m tests.histories.record              shapes and samples of new versions of events
    python -m tests.histories.record NAME         and the story of `story.py`, as NAME.jsonl
    python -m tests.histories.record --released   no version that is kept may change its shape any more

A version that no release has had may get more fields, if what was written of it can still be read. `shapes.json` says
which versions are open like that; `--released` closes them. `samples.jsonl` has a line of each shape there has been,
`outcomes.json` what each history comes to, and `SHA256SUMS` their digests.
"""

import asyncio
import hashlib
import json
import sys
import tempfile
from pathlib import Path

from shared.domain import events
from shared.embedded import Valkey
from shared.eventlog.envelope import FIELDS as ENTRY
from shared.eventlog.envelope import decode
from shared.readmodel.chain import FIELDS, GENESIS, link
from shared.readmodel.cold.segments import written
from shared.testing import Bench
from tests.histories import shapes, story
from tests.histories.outcome import outcome_of

HERE = Path(__file__).parent
SHAPES, SAMPLES = HERE / "shapes.json", HERE / "samples.jsonl"
SUMS, OUTCOMES = HERE / "SHA256SUMS", HERE / "outcomes.json"


def main(words):
    """Do what the words say."""
    keep_shapes()
    for word in words:
        if word == "--released":
            kept = json.loads(SHAPES.read_text())
            SHAPES.write_text(json.dumps(kept | {"open": []}, indent=1) + "\n")
        else:
            keep_history(word, asyncio.run(told()))


def keep_shapes():
    """Add what there is of new shapes."""
    kept = json.loads(SHAPES.read_text()) if SHAPES.exists() else {"open": [], "shapes": {}}
    for event in events.ALL:
        name, shape = f"{event.__name__} {event.VERSION}", shapes.shape_of(event)
        before = kept["shapes"].get(name)
        if before == shape:
            continue
        if before is not None:
            _check_open(name, kept["open"])
        else:
            kept["open"].append(name)
        kept["shapes"][name] = shape
        line = {"type": event.__name__, "v": event.VERSION, "shape": shape, "data": shapes.sample(event)}
        with SAMPLES.open("a") as file:
            file.write(json.dumps(line) + "\n")
        print(f"{name}: kept")
    SHAPES.write_text(json.dumps(kept, indent=1) + "\n")


def _check_open(name, still_open):
    if name not in still_open:
        sys.exit(f"{name} was released with another shape: raise its VERSION, and write an upcaster.")
    for line in SAMPLES.read_text().splitlines():
        told = json.loads(line)
        if f"{told['type']} {told['v']}" == name:
            decode(told["type"], told["v"], told["data"])  # raises, if it can't be read any more


def keep_history(name, rows):
    """Write events (values of the archive's fields) as the lines of a cold copy."""

    path, chain = HERE / f"{name}.jsonl", GENESIS
    if path.exists():
        sys.exit(f"{path.name} is kept: name a new one.")
    with path.open("wb") as file:
        for row in rows:
            chain = link(chain, row)
            file.write(written(tuple(row), chain))
    outcomes = json.loads(OUTCOMES.read_text()) if OUTCOMES.exists() else {}
    OUTCOMES.write_text(json.dumps(outcomes | {name: outcome_of(path)}, indent=1) + "\n")
    with SUMS.open("a") as file:
        file.write(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n")
    print(f"{path.name}: {len(rows)} events")


async def told():
    """Tell the story on a log of its own; its events."""

    with tempfile.TemporaryDirectory() as directory, Valkey(Path(directory) / "valkey") as server:
        bench = await Bench.on(server.endpoint.url, partitions=1)
        try:
            stage = story.Stage(bench)
            for scene in story.SCENES:
                await scene(stage)
            entries = await bench.redis.xrange(bench.log.keys(0).log)
        finally:
            await bench.close()
    return [_row(entry.decode(), fields) for entry, fields in entries]


def _row(entry, fields):
    """The fields that the chain goes over, of an entry of the log."""
    epoch, pos = map(int, entry.split("-"))
    values = {name: fields[name.encode()].decode() for name in ENTRY}
    values |= {"v": int(values["v"]), "at": int(values["at"])}
    values |= {"partition": 0, "epoch": epoch, "pos": pos}
    return [values[name] for name in FIELDS]


if __name__ == "__main__":
    main(sys.argv[1:])
