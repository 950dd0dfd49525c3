"""What is read, in Postgres: the archive (schema `book`) and the ledgers made from it (schema `ledger`).

`migrations/` is the whole schema; `database` connects, migrates and loads statements; `archive` asks the
schema `book`; `chain` links its events. Nothing here knows the log: rows go in and out as plain values (the
import rule); `shared.recovery` and the projector stand above both.
"""
