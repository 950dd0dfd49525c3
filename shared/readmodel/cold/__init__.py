"""Cold copies of the archive: its events as JSON lines, in segments that can be read and checked without any server.

```
 events/p0003/00000000000000000001-00000000000000020000.jsonl.zst     partition, first and last position
 manifest                                                              what there is: `manifest.Manifest`
```
A line is an object with the archive's columns, in the order that the chain goes over them (`shared.readmodel.chain`),
`at` in ms since 1970, `data` the event's own JSON as a text, to the byte, and `chain`, its link in hex. So a cold copy
proves itself as the archive does: each link follows from the one before, over all segments of a partition.

`segments` writes and reads one, `exporting` copies an archive, `manifest` says what a copy holds.
"""
