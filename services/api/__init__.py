"""The API: HTTP in, commands out to the log; questions answered from the ledgers.

Reads   HTTP; snapshots (to decide); ledgers and archive in Postgres (to answer); the watermark, to know
        when a write of its own is archived.
Writes  what clients' commands decide, by commit; nothing to Postgres.
If I die, clients are cut off and ask another replica. What was answered 200 or 201 stands in log and archive;
what was not answered may have been written or not, whole or not at all.

    app        routes, and what every answer has: correlation id, problem on error, metrics
    door       the HTTP request as values: body, query, headers          requests   the models of bodies
    writes     decide, then wait for the archive (archived)              responses  the models of answers
    ledger     questions to Postgres (queries/*.sql)                     problems   RFC 9457
    jobs runs events ops                                                 one file a noun: its routes
"""
