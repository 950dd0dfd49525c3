"""The timer: time in, wakes out.

Reads   `due` of the partitions it owns, and the snapshots of what is due.
Writes  what `decide(…, Wake)` says of them, by commit: runs into work streams, skipped occurrences, lost runs,
        retries; nothing else, and nothing to Postgres.
If I die, what I own is taken over by another timer within about 1.5 s. Nothing is lost meanwhile (the due index
stands in Redis), and nothing is decided twice (the commit checks that the entry has not moved).
"""
