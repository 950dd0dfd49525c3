"""Commands for people, beside the services.

Operators' commands read and write both stores directly: `recover` opens logs, and heals them; `audit` only reads. They
need the two addresses, or DAYBOOK_DATA_DIR beside a running `daybook up`, whose endpoints.json has them. If one dies
half-way, the services or the next call go on from where it stopped.
"""
