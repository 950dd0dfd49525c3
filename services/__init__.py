"""The four services: each a process of its own, in any number of replicas.

None calls another: they meet in the log.

    service    reads                                    writes
    api        HTTP; snapshots; read models             what clients' commands decide, to the log
    timer      the due index, snapshots                 what time decides, to the log
    executor   work streams, snapshots                  starts and ends of runs, to the log
    projector  the log, its checkpoint in Postgres      archive, read models, checkpoint; trims the log

`up` runs all of them on one machine, with the servers they need; `cli` holds the commands for people;
`__main__` is the `daybook` command, and the only module that knows them all.
"""
