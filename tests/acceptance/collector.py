"""A collector of traces on loopback: takes what is sent by OTLP over HTTP, and keeps it."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Collector:
    """Within the block, `url` takes spans."""

    def __enter__(self):
        self.heads, self._requests = [], []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.heads.append((self.path, dict(self.headers)))
                collector._requests.append(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self):
        return f"http://127.0.0.1:{self._server.server_port}"

    def spans(self, trace_id):
        """The spans of a trace, each with its service's name: (service, span)."""
        return [
            (_service(of_process), span)
            for request in list(self._requests)
            for of_process in request.resource_spans
            for scope in of_process.scope_spans
            for span in scope.spans
            if span.trace_id.hex() == trace_id
        ]

    @property
    def text(self):
        """All that was ever sent."""
        return "\n".join(str(request) for request in list(self._requests))


def _service(of_process):
    return next(
        each.value.string_value for each in of_process.resource.attributes if each.key == "service.name"
    )
