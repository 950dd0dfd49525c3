"""Services that a killed `daybook up` left behind, and that have not gone yet."""

import signal

from shared import logs
from shared.embedded import DataDir, processes

STOP = ((signal.SIGTERM, 2.0), (signal.SIGKILL, 5.0))  # they drain already; a second SIGTERM ends that


def end_orphans(data_dir: DataDir) -> None:
    """End them: they still hold the API's port. The data directory must be held.

    Only processes that were started with a port file in this directory are touched: a pid alone may be
    another program's by now.
    """
    left = data_dir.read_endpoints()
    for name, address in left.services.items() if left else ():
        if processes.has_variable(address.pid, f"DAYBOOK_PORT_FILE={data_dir.port_file(name)}"):
            logs.get("daybook.up").warning("ending an orphan", name=name, pid=address.pid)
            processes.end(address.pid, "", STOP)
    data_dir.remove_endpoints()
