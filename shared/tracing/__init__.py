"""Traces by OpenTelemetry, for whoever sets DAYBOOK_TRACING: what one request came to, over all services.

**What follows from an event goes on in its trace.** The envelope's `trace` is the W3C traceparent of the span in which
the event was committed; whoever acts on an event, later and in another process, finds his parent there
(`shared.eventlog.trails`). No state and no message has a field for it, and a heal loses none.

Off, which is the default, nothing of OpenTelemetry is imported and no service is given a `Tracing`: what it would do
stands in subclasses (`traced.py` of each service) that are made only where there is one.
"""

from __future__ import annotations

import os
from contextvars import ContextVar
from typing import TYPE_CHECKING

from shared.faults import Fatal

if TYPE_CHECKING:
    from shared.settings import Settings
    from shared.tracing.spans import Tracing

__all__ = ["check", "of_settings", "otlp", "present", "set_present"]

PROTOCOL = "http/protobuf"
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")
_MISSING = (
    "DAYBOOK_TRACING=otlp needs packages that are not installed here ({name} is missing): "
    "install the extra, daybook[tracing], or set DAYBOOK_TRACING=off."
)
_present: ContextVar[Tracing | None] = ContextVar("the tracing of the present attempt", default=None)


def of_settings(settings: Settings, service: str, instance: str) -> Tracing | None:
    """What makes the spans of this process; None where tracing is off.

    Raises:
        Fatal: it is on, and can't be.
    """
    return None if settings.tracing == "off" else otlp(service, instance)


def otlp(service: str, instance: str) -> Tracing:
    """The same where it is on: spans go where OTEL_EXPORTER_OTLP_* says, and handlers' own with them.

    Args:
        service: `daybook-<service>` is its name outside, unless OTEL_SERVICE_NAME gives one.
        instance: tells this process from others of the service.

    Raises:
        Fatal: the packages aren't there, or another protocol is asked for than there is.
    """
    check()
    from shared.tracing import spans  # noqa: PLC0415 - nobody else pays for it

    return spans.exporting(service, instance)


def check() -> None:
    """See whether tracing can be on here.

    Raises:
        Fatal: it can't; says what to do.
    """
    for name in _PROTOCOLS:
        if os.environ.get(name, PROTOCOL) not in {"", PROTOCOL}:
            raise Fatal(f"{name}={os.environ[name]} is not available, only {PROTOCOL} is: unset it.")
    try:
        from shared.tracing import spans  # noqa: F401, PLC0415 - likewise
    except ModuleNotFoundError as missing:
        raise Fatal(_MISSING.format(name=missing.name)) from missing


def present() -> Tracing | None:
    """What makes spans where a handler is at work: it may have its own made; None where tracing is off."""
    return _present.get()


def set_present(tracing: Tracing) -> None:
    """Have `present` return this, in this task and those that it begins."""
    _present.set(tracing)
