"""What Daybook decides, and nothing else: pure functions over frozen values.

No I/O, no clock, no chance: time, ids and draws are arguments. `kinds` is the table of aggregates, of which jobs and
runs are the ones that all else is about. Each kind has a `decide`, which makes events of a state and a command, or
refuses, and `evolve(state, change) -> state`, which is total and silent: folding an old log never raises. `events` is
the glossary of facts, `commands` of wishes, `schedule`/`cron`/`retry` the arithmetic of when.
"""
