"""Real servers from PyPI wheels, for `daybook up` and for tests (DESIGN §10).

    with Valkey(tmp) as valkey, Postgres(tmp) as postgres:
        valkey.endpoint.url, postgres.endpoint.url

Same programs as in production, loopback only, each with a password in its own directory. They stop with the
process that started them, however it ends; what a crash leaves is found and stopped by the next start.
"""

from .data_dir import DataDir, DirectoryBusyError, Endpoints, ServiceAddress
from .postgres import Postgres
from .server import Endpoint, Server, ServerError
from .valkey import Valkey

__all__ = [
    "DataDir",
    "DirectoryBusyError",
    "Endpoint",
    "Endpoints",
    "Postgres",
    "Server",
    "ServerError",
    "ServiceAddress",
    "Valkey",
]
