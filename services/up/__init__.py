"""`daybook up`: everything on one machine. Servers, four services, one Ctrl-C.

Reads the settings; writes what stands in the data directory (`shared.embedded.data_dir`). If it dies, the
kernel ends its children and its servers; the next start clears what is left, and goes on with the data.

The start: hold the data directory → bind the API's port → servers → schema → services. The end, in turn:
api, timer and executors (which drain) → projector (which so archives what they wrote last) → servers.
"""

from .system import Up

__all__ = ["Up"]
