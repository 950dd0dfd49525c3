"""Opening the log: Redis may come back older than it was, and is compared with the archive first.

```
 log ahead of the archive, or equal, same event at the archive's tail ─▶ opened: LogOpened{restart}, a new epoch
 archive ahead: the log has lost its tail, or everything              ─▶ healed: the write side is made anew from the
                                                                         archive; LogOpened{heal} at its pos + 1
 different events at one position: a fork                             ─▶ the archive wins: the log's own events go to
                                                                         book.quarantine, somebody is called; healed
 the log begins behind the archive's end (an old database), shares    ─▶ Fatal: what is missing is in neither, or one
 no event with it, or belongs to a former master                         of the two addresses is another deployment's
```
`opener` goes this way under an advisory lock, `comparing` judges, `quarantine` keeps aside, `rebuilding` makes the
write side anew; `rows` makes the log's values of the archive's rows.

The fence is raised before it is judged. That waits for a projector's transaction under way, and refuses every later
one of a projector that hasn't seen the new epoch; and none goes on before the log bears that epoch. So the archive
stands still while the two are compared, and a log that isn't open is not projected from either.

A crash at any instant is harmless. A log that is being rebuilt has no entry and no incarnation: nobody writes to it,
and the next opener finds the archive ahead and starts over.
"""

from shared.recovery.comparing import Behind, Forked, Level
from shared.recovery.opener import OPENING_LOCK, Opening, open_log, survey
from shared.recovery.rows import archived_job, archived_units, recorded

__all__ = [
    "OPENING_LOCK",
    "Behind",
    "Forked",
    "Level",
    "Opening",
    "archived_job",
    "archived_units",
    "open_log",
    "recorded",
    "survey",
]
