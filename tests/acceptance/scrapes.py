"""Reading /metrics as Prometheus does, and what is expected to be seen there."""

import time
from dataclasses import dataclass, field

import httpx
from prometheus_client.parser import text_string_to_metric_families

PREFIX = "daybook_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One answer of /metrics; `families` by name as they are declared, without `daybook_`."""

    text: str
    kind: str
    families: dict

    def value(self, series, labels):
        """The sum of all samples of a series that have these labels; 0 if there is none yet."""
        samples = [each for family in self.families.values() for each in family.samples]
        return sum(
            each.value
            for each in samples
            if each.name == PREFIX + series and labels.items() <= each.labels.items()
        )


def scrape(url):
    """Fetch and read /metrics under `url`."""
    answer = httpx.get(f"{url}/metrics", timeout=5, trust_env=False).raise_for_status()
    return read(answer.text, answer.headers["content-type"])


def read(text, kind):
    """Parse a page.

    Raises:
        ValueError: the parser can't read it.
    """
    # A counter's family has its name without `_total`; as it is declared, it has it.
    found = {
        (each.name + "_total" if each.type == "counter" else each.name).removeprefix(PREFIX): each
        for each in text_string_to_metric_families(text)
        if each.name.startswith(PREFIX)
    }
    return Page(text=text, kind=kind, families=found)


def grown(value, before):
    """It counts: more than at the first sight."""
    return value > before


def recent(value, before):
    """It is a time of a few seconds ago at most, and has moved."""
    return before < value and abs(time.time() - value) < 10


def equals(expected):
    """It is a number that the story makes."""
    return lambda value, _: value == expected


def above(limit):
    """It is more than this; how much, nobody can say."""
    return lambda value, _: value > limit


@dataclass(frozen=True, slots=True)
class Sight:
    """At `moment` of the story the service `role` shows `labels` with a value that `holds(value, first)`."""

    role: str
    moment: str
    holds: object
    labels: dict = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Row:
    """One metric of the contract: its type, its labels, and where it is seen to move."""

    kind: str
    labels: tuple
    sights: tuple
    buckets: tuple = ()


class Watch:
    """Looks at the services of a system at the moments that the rows name."""

    def __init__(self, system, rows):
        self._system, self._rows = system, rows
        self.pages = {}

    def look(self, moment, patience_s):
        """Scrape until all that `moment` is to show is there; whatever is missing then, the tests tell."""
        sights = [(name, each) for name in self._rows for each in self._rows[name].sights]
        expected = [(name, sight) for name, sight in sights if sight.moment == moment]
        until = time.monotonic() + patience_s
        while True:
            for role in {sight.role for _, sight in expected}:
                self.pages[moment, role] = scrape(self.url(role))
            if all(self.holds(name, sight) for name, sight in expected) or time.monotonic() > until:
                return
            time.sleep(0.05)

    def url(self, role):
        """Where a role shows its pages; there is one process of each."""
        (service,) = self._system.of(role)
        return self._system.url if role == "api" else service.ops_url

    def value(self, name, sight, moment=None):
        """What a sight shows: the number of observations if it is a histogram's."""
        series = f"{name}_count" if self._rows[name].kind == "histogram" else name
        return self.pages[moment or sight.moment, sight.role].value(series, sight.labels)

    def holds(self, name, sight):
        """Whether what was seen is what was expected."""
        return sight.holds(self.value(name, sight), self.value(name, sight, "first"))
