"""Stands in for the `daybook` command under `daybook up`: a child that notes what happens to it.

Each line of `<data-dir>/story` is a JSON object: name, event, pid, what its servers answered. A file
`<data-dir>/<event>-<role>` changes what it does: `die-timer` (ends at once, with the status in the file),
`linger-executor` (ignores SIGTERM).
"""

import http.server
import json
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

from shared.parent import die_with_parent

role = sys.argv[1]
port_file = Path(os.environ["DAYBOOK_PORT_FILE"]) if role != "migrate" else Path("migrate")
data_dir = Path(os.environ["DAYBOOK_DATA_DIR"])


def note(event):
    line = {"name": port_file.stem, "event": event, "pid": os.getpid(), "servers": redis_answers()}
    with (data_dir / "story").open("a") as story:
        story.write(json.dumps(line) + "\n")


def redis_answers():
    """Speaks to it by hand: a client's import would take longer than all else that is done here."""
    url, heard = urlsplit(os.environ["DAYBOOK_REDIS_URL"]), b""
    try:
        with socket.create_connection((url.hostname, url.port), timeout=2) as server:
            server.sendall(f"AUTH {url.password}\r\nPING\r\n".encode())
            while heard.count(b"\r\n") < 2 and (more := server.recv(100)):
                heard += more
    except OSError:
        return False
    return heard == b"+OK\r\n+PONG\r\n"


class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"pid": os.getpid(), "path": self.path}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def serve_health():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Health, bind_and_activate=False)
    server.socket = socket.socket(fileno=int(os.environ["DAYBOOK_API_FD"]))
    threading.Thread(target=server.serve_forever, daemon=True).start()


def report_port():
    draft = port_file.with_suffix(".new")
    draft.write_text(json.dumps({"name": port_file.stem, "pid": os.getpid(), "port": 12345}))
    draft.replace(port_file)


def main():
    die_with_parent(int(os.environ["DAYBOOK_PARENT_PID"]))
    asked = []  # not an Event: its lock would hang a handler that a second signal interrupts
    signal.signal(signal.SIGTERM, lambda number, _: asked.append(number))
    if (data_dir / f"die-{role}").exists():
        note("dying")
        sys.exit(int((data_dir / f"die-{role}").read_text()))
    note("started")
    if role == "migrate":
        return
    if role == "api":
        serve_health()
    else:
        report_port()
    while not asked or (data_dir / f"linger-{role}").exists():
        time.sleep(0.02)
    note("stopped")


main()
