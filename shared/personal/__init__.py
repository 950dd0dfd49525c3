"""Personal data in a log that forgets nothing: sealed by a key of its job, gone when that key is destroyed.

    sealing   what a sealed value looks like; sealing and opening, pure
    marks     which parts of a job's data its type marks as personal
    keys      the keys: their home is Postgres, a copy stands in Redis
    levelling what one of the two has lost, it gets back from the other
    sweeping  copies leave Redis when the states of their jobs have

A value is sealed at the API's door and opened in its answers, and just before a handler is called. Everywhere between,
in events, snapshots, archive, ledgers and cold copies, it stands as `{"$personal": "<text>"}`. So nothing that was
written once is ever changed by an erasure: without the key, it says nothing any more.
"""
