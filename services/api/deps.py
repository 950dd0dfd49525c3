"""What the routes work with: built once, in `service`, and in tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.api.archived import Archive
    from services.api.feed import Feed
    from services.api.ledger import Ledger
    from services.api.pressure import Pressure
    from services.api.usage import Usage
    from shared.clock import Clock
    from shared.eventlog.decider import Decider
    from shared.eventlog.log import EventLog
    from shared.job_types import Catalog, Known
    from shared.metrics import Metrics
    from shared.ops import Health
    from shared.personal.keys import PersonalKeys
    from shared.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Deps:
    """Dependencies of the application.

    Attributes:
        log: opened.
        decider: over `log`.
        ledger: questions to Postgres.
        archive: knows what is archived; its `run` is on its way.
        feed: hands on what happens; its `run` is on its way.
        pressure: knows whether there is room; its `look` is repeated.
        usage: counts requests; its `flush` is repeated.
        personal: the keys of personal data.
        known: the job types that are installed.
        catalog: what the deployment offers them.
        chance: at least 80 random bits at each call.
        clock: for what is measured or shown of this process only.
    """

    log: EventLog
    decider: Decider
    ledger: Ledger
    archive: Archive
    feed: Feed
    pressure: Pressure
    usage: Usage
    personal: PersonalKeys
    known: Known
    catalog: Catalog
    settings: Settings
    metrics: Metrics
    health: Health
    clock: Clock
    chance: Callable[[], int]
