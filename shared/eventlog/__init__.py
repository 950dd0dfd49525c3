"""The log: ordered events of each partition, in Redis, and the one door to it.

Guarantees
- A unit is written whole or not at all, by one script; a batch of units is applied at most once, however often
  it is sent. What a caller is told "committed" is in the log until Redis itself loses its tail, and then
  `shared.recovery` finds that out before anything else is written.
- An aggregate's version is the position of its last event: never issued twice, the same after a rebuild.
- Positions of a partition are contiguous; each epoch begins with a LogOpened that names what stands before it.

Keys of a partition, K = `<prefix>:{<tag>}`; `keys.py` has their types
    K:meta   K:log   K:job:<id>   K:run:<id>   K:due   K:work:<queue>:<priority>   K:bell:<queue>   K:bell:timer
    K:once:<digest>   K:once:<digest>:…   K:writer:<process>   K:lease:<role>   K:archived (a channel)
    K:personal

What a crash may repeat
- Between commit and reply: the batch is sent again, and answered from `K:writer`.
- Between claim and start: the work entry is adopted by another consumer; the guard on the run lets one start.
- Between start and finish: the lease runs out and the handler starts again, elsewhere: at least once.

The way through: `decider` (load, decide, evolve, commit) → `unit` → `writer` (group commit) → `commit.lua`;
back out: `reader`, `envelope` (codec, CloudEvents), `upcast`.
"""
