"""The ids of jobs that are applied by name: whoever applies the same name again comes to the same job.

```
 00000000-gggg-8ppp-vccc-cccccccccccc     g: generation   p, c: of SHA-256(tenant, owner, name)
```
Where other ids have the time, these have a generation, so they stand before all others, and tell that they are applied.
A deleted job is not made again: its name goes on with the next generation. So the job of a name is that of the first
generation that was not deleted.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from shared.domain import ids

GENERATIONS = 1 << 16
BOUND = "00000000-ffff-8000-8000-000000000000"
"""Above all applied ids, and below those of any time since the second minute of 1970."""


class Named(NamedTuple):
    """A name of somebody's."""

    tenant: str
    owner: str
    name: str


def applied_id(named: Named, generation: int, *, partitions: int) -> str:
    """The id of the job of this name in a generation."""
    digest = hashlib.sha256("\x1f".join(("apply", *named)).encode()).digest()
    partition = int.from_bytes(digest[8:12]) % partitions
    return ids.derived_id(ids.from_ms(generation), partition, "apply", *named)


def generation_of(identifier: str) -> int:
    """Of an applied id."""
    return ids.to_ms(ids.time_of(identifier))


def family_of(identifier: str) -> str:
    """What the ids of all generations of a name have in common."""
    return identifier[14:]


def digest_of(tenant: str, owner: str) -> str:
    """Names whoever applies, in keys."""
    return hashlib.sha256(f"apply\x1f{tenant}\x1f{owner}".encode()).hexdigest()
