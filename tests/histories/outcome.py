"""What a history comes to, by the folds and the projections of this build."""

from services.projector import projections
from shared.domain import kinds
from shared.eventlog.envelope import Recorded
from shared.eventlog.position import Position
from shared.readmodel.cold.segments import Chain, read


def recorded(path):
    """The events of a history, whose links are followed."""
    found = []

    def take(_, event, __):
        partition, epoch, pos, *fields = event
        found.append(Recorded(partition, Position(epoch, pos), *fields))

    count = len(path.read_bytes().splitlines())
    name = f"events/p0000/{1:020}-{count:020}.jsonl"
    with path.open("rb") as file:
        assert read(name, file, Chain(), "none", take).broken == 0
    return found


def outcome_of(path):
    """What a history comes to: ref → status of each job and run, and how often each other aggregate was advanced."""
    states, jobs, runs = {}, {}, {}
    all_of_it = recorded(path)
    folded = projections.fold(all_of_it, jobs, runs)
    assert [each.message for each in folded.unreadable] == []
    for each in all_of_it:
        change = each.change()
        for ref in change.advances if change.subject != "log" else ():
            kind = kinds.of_ref(ref)
            states[ref] = kind.evolve(states.get(ref), change)
    outcome = {ref: type(state).__name__ for ref, state in states.items()}
    outcome |= {f"job:{job}": _job(entry, states[f"job:{job}"]) for job, entry in jobs.items()}
    return outcome | {f"run:{run}": row.status for run, row in runs.items()}


def _job(entry, state):
    """A job's status and revision: that of its row is that of its fold."""
    assert entry.job == state
    return f"{state.status.value} {state.revision}"
