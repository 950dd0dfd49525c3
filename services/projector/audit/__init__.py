"""The audit: whether archive, log, snapshots, due index, work streams and ledgers tell one story.

Reads them all and writes nothing. Of each partition, the archive in one transaction that sees one moment, and then
Redis, in pages each of which is one moment of the log; the fold follows the log to exactly that moment before anything
is compared. So a system that is at work is audited like one that rests, and nothing it does meanwhile looks wrong.

`verify` tells the story of an audit. `archive` and `write_side` read; `fold` makes of the events what everything is
compared with; `sequence`, `schedules`, `runs`, `ledgers` and `standing` check, without I/O; `lines` are the result.
"""

from services.projector.audit.lines import Invariant, Line
from services.projector.audit.verify import Report, Unauditable, verify

__all__ = ["Invariant", "Line", "Report", "Unauditable", "verify"]
