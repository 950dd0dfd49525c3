"""Commands for people, beside the services.

Clients of the REST API: `jobs`, `runs`, `events`, `calendars`, `schedules`, `forecast`, `apply`. They need its address
and, where authentication is on, a credential, and import nothing of the services but pure functions.

Operators' commands (`operating`, `audit`) read and write both stores directly: `recover` opens logs, and heals them;
`audit` only reads. They need the two addresses, or DAYBOOK_DATA_DIR beside a running `daybook up`, whose endpoints.json
has them. If one dies half-way, the services or the next call go on from where it stopped.
"""
