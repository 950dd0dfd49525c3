"""Backups: what the executor's `backup_task` writes and `daybook backup` reads.

```
 files, database, log ─▶ tar stream (payload) ─▶ compressed ─▶ sealed in chunks (container) ─▶ a store, under a name
```
A backup is one object, so it is there whole or not at all. `container` has the format; `payload` what stands in it;
`stores` where it is kept; `files`, `database` and `log` what goes in, and comes out again; `checking` reads all of it.
Nothing here knows jobs: names, secrets and places come as arguments.
"""
