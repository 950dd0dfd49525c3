"""The replay: the ledgers made anew from the archive, beside the live ones, and put in their place.

```
 ledger_next made as `ledger` is ─▶ read: a worker a partition, up to where the archive was ─▶ indexes, triggers
    ─▶ follow the archive ─▶ compare both as of one moment ─▶ level ─▶ one transaction: `ledger` ↔ `ledger_next`
```
Everything that a replay has come to stands in Postgres, in the schemas `replay` and `ledger_next`, moved on in the
transactions that write the rows: one that was killed is gone on with. Nothing else is written before the swap, and the
services are at work all the while. Rows are made by the projector's own code.

`service` tells the story. `blueprint` has how `ledger` is made; `build` how far this replay is; `dropped` and `cold`
what retention has left to begin with; `gathering` makes rows of events by the hundred thousand, in each `worker`, and
`builder` those of what is followed; `finishing` the rest of the schema; `comparing` and `swapping` what they say.
"""

from services.projector.replay.build import Unreplayable
from services.projector.replay.service import Outcome, Replay

__all__ = ["Outcome", "Replay", "Unreplayable"]
