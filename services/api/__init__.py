"""The API: HTTP in, commands out to the log; questions answered from the ledgers.

Reads   HTTP; snapshots (to decide); ledgers and archive in Postgres (to answer); the watermark, to know
        when a write of its own is archived.
Writes  what clients' commands decide, by commit; nothing to Postgres.
If I die, clients are cut off and ask another replica. What was answered 200 or 201 stands in log and archive;
what was not answered may have been written or not, whole or not at all.

    service    the process: socket, application, what follows log and archive beside it
    app        what every answer has: correlation id, problem on error, metrics; in front of it large_bodies, browsers
    door       the HTTP request as values; json_body, requests (models), specs (from bodies to specifications)
    jobs runs events ops        one file a noun: its routes; openapi and operations tell of them
    limits     how often somebody may ask (clients: from where); pressure: whether there is room for new work
    usage      how many requests each principal has sent; principals: and what they have changed
    writes     decide, then wait for the archive (archived); reads: no older than the client asks
    turns      which partition a new job goes to
    ledger     questions to Postgres (queries/*.sql); lists: pages of the answers
    answers    on the wire; responses (models), views (made of rows and states), problems (RFC 9457)
"""
