"""Why something ran, or did not, told from events alone (DESIGN §1, promise 6).

```
 reading ── events of the archive, states as they were ──▶ occurrence, absence, run, standing, silence ──▶ findings
```
`explainer` asks and puts in order; `reading` is all that speaks to Postgres. The rest is pure: functions of recorded
events and of states that were folded from them. Ledgers lead to events and are never the reason themselves; no log of
a process is asked. `codes` has every finding there is.
"""
