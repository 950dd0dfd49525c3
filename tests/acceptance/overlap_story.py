"""What a job's events say of its runs beside each other: whether any was against its overlap_policy."""

TERMINAL = ("RunSucceeded", "RunFailed", "RunCancelled", "RunExpired")


def faults(events):
    """What is wrong in the story of a job whose policy doesn't change."""
    story = _Story()
    for event in events:
        yield from story.take(event)


class _Story:
    def __init__(self):
        self.policy, self.active, self.waiting = None, set(), []
        self.newest = None  # the run for whose sake occurrences were skipped, until it is asked for

    def take(self, event):
        kind, told = event.type, event.told
        is_released = (kind, told.get("reason")) == ("RunQueued", "released")
        if self.waiting and not self.active and not is_released:
            yield f"{event.place} leaves {self.waiting} waiting for nothing"
        if kind in ("JobCreated", "JobUpdated"):
            self.policy = told["spec"]["overlap_policy"]
        elif kind == "RunRequested":
            yield from self._requested(event, told)
        elif is_released:
            if self.active or self.waiting[:1] != [event.run_id]:
                yield f"{event.place} releases {event.run_id}; active {self.active}, waiting {self.waiting}"
            self._gone(event.run_id)
            self.active.add(event.run_id)
        elif kind in TERMINAL:
            self._gone(event.run_id)
        elif (kind, told.get("reason")) == ("OccurrencesSkipped", "overlap"):
            yield from self._skipped(event, told["by"])

    def _requested(self, event, told):
        if self.newest not in (None, event.run_id):
            yield f"{event.place} requests a run, and not {self.newest}, for which others were skipped"
        self.newest = None
        if told.get("held"):
            self.waiting.append(event.run_id)
            return
        if self.policy != "allow" and self.active and told["trigger"] == "schedule":
            yield f"{event.place} requests a run beside {self.active}"
        self.active.add(event.run_id)

    def _skipped(self, event, by):
        if self.policy == "replace":
            self.newest = by
        elif self.policy == "allow" or by not in {*self.active, *self.waiting}:
            yield f"{event.place} skips because of {by}, which is not there"

    def _gone(self, run_id):
        self.active.discard(run_id)
        self.waiting = [each for each in self.waiting if each != run_id]
