"""Limits of the operating system on this process, for as long as somebody else's data is worked on.

A library's own limit of memory counts what it keeps in its buffers; one cell of a gigabyte, or a page of a file that
unpacks to as much, is not among that.
"""

from __future__ import annotations

import contextlib
import resource
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_DATA = 5  # the field of /proc/self/statm that counts pages of data and stack


@contextlib.contextmanager
def memory_bounded(more: int) -> Iterator[None]:
    """This process may allocate so many bytes beside what it has; then allocating fails, in C as in Python.

    Only where /proc tells what it has (Linux).
    """
    statm = Path("/proc/self/statm")
    if not statm.exists():
        yield
        return
    has = int(statm.read_text().split()[_DATA]) * resource.getpagesize()
    with _limited(resource.RLIMIT_DATA, has + more):
        yield


@contextlib.contextmanager
def files_bounded(size: int) -> Iterator[None]:
    """No file of this process grows beyond so many bytes: Python ignores the signal, so the write fails."""
    with _limited(resource.RLIMIT_FSIZE, size):
        yield


@contextlib.contextmanager
def _limited(kind: int, limit: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(kind)
    lowered = limit if soft == resource.RLIM_INFINITY else min(soft, limit)
    resource.setrlimit(kind, (lowered, hard))
    try:
        yield
    finally:
        resource.setrlimit(kind, (soft, hard))
