"""What Daybook decides, and nothing else: pure functions over frozen values.

No I/O, no clock, no chance: time, ids and draws are arguments. `job` and `run` are the two aggregates. Each
has `decide(state, command, now) -> Decision`, which may refuse, and `evolve(state, change) -> state`, which is
total and silent: folding an old log never raises. `events` is the glossary of facts, `commands` of wishes,
`schedule`/`cron`/`retry` the arithmetic of when.
"""
