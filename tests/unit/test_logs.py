import asyncio
import contextvars
import io
import json
import logging
import re
import warnings

import pytest
import structlog

from shared import logs


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def as_before(monkeypatch):
    """Leave the process's logging as it was found; nothing is hidden that other tests have revealed."""
    monkeypatch.setattr(logs, "_hidden", {})
    monkeypatch.setattr(logs, "_hiding", None)
    root, levels = logging.getLogger(), {name: logging.getLogger(name).level for name in logs.QUIET}
    handlers, level = list(root.handlers), root.level
    yield
    structlog.reset_defaults()
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)


def lines(text):
    return [json.loads(line) for line in text.splitlines()]


def test_a_line_is_one_json_object_with_message_and_ids(capsys):
    logs.configure("INFO", "json", "timer")
    logs.get("daybook.timer").info("run started", run_id="r1", attempt=2)
    (line,) = lines(capsys.readouterr().err)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", line.pop("at"))
    assert line == {
        "message": "run started",
        "run_id": "r1",
        "attempt": 2,
        "level": "info",
        "logger": "daybook.timer",
        "service": "timer",
    }


def test_what_libraries_log_looks_the_same(capsys):
    logs.configure("INFO", "json", "api")

    def within():
        logs.bind(correlation_id="c1")
        logging.getLogger("asyncio").warning("slow %s", "callback")
        warnings.warn("old", stacklevel=1)

    contextvars.copy_context().run(within)
    first, second = lines(capsys.readouterr().err)
    assert {
        "message": "slow callback",
        "logger": "asyncio",
        "correlation_id": "c1",
        "service": "api",
    }.items() <= (first.items())
    assert second["logger"] == "py.warnings"


def test_the_correlation_id_stands_in_every_line_of_its_task(capsys):
    logs.configure("INFO", "json", "api")

    async def one():
        logs.bind(correlation_id="c1")
        logs.bind(run_id="r1")
        logs.get("a").info("one")

    async def both():
        await asyncio.create_task(one())
        logs.get("a").info("two")

    asyncio.run(both())
    first, second = lines(capsys.readouterr().err)
    assert (first["correlation_id"], first["run_id"]) == ("c1", "r1")
    assert "correlation_id" not in second


def test_less_important_lines_are_left_out(capsys):
    logs.configure("WARNING", "json", "api")
    logs.get("a").info("no")
    logging.getLogger("a").info("no")
    logs.get("a").warning("yes")
    assert [line["message"] for line in lines(capsys.readouterr().err)] == ["yes"]


def test_a_logger_made_before_configure_follows_it(capsys):
    early = logs.get("early")
    logs.configure("INFO", "json", "one")
    logs.configure("INFO", "json", "two")
    early.info("hello")
    assert [line["service"] for line in lines(capsys.readouterr().err)] == ["two"]


def test_a_server_does_not_announce_itself_but_warns(capsys):
    logs.configure("INFO", "json", "api")
    logging.getLogger("hypercorn.error").info("Running on …")
    logging.getLogger("hypercorn.error").warning("trouble")
    assert [line["message"] for line in lines(capsys.readouterr().err)] == ["trouble"]


@pytest.mark.parametrize(
    "fields",
    [
        {"url": "redis://user:hunter2@host/0"},
        {"url": "postgresql://u:sl/hunter2@host/d"},
        {"url": "https://u:hunter2@host/a@b"},
        {"url": "postgresql://host/d?sslpassword=hunter2&x=1"},
        {"password": "hunter2"},
        {"smtp_password": "hunter2"},
        {"Authorization": "Bearer hunter2"},
        {"nested": {"list": [{"api_key": "hunter2"}, "redis://:hunter2@h"]}},
        {"error": ValueError("redis://:hunter2@h")},
        {"said": "sent {'Accept': '*/*', 'X-API-Key': 'hunter2'}"},
        {"said": "sent [(b'accept', b'*/*'), (b'authorization', b'Basic hunter2')]"},
        {"said": "a server was told Authorization: Bearer hunter2"},
        {"said": "it was told Bearer hunter2hunter2hunter2 in vain"},
        {"said": "dbk_0123456789abcdef0123456789abcdefhunter2"},
    ],
)
@pytest.mark.parametrize("fmt", ["json", "console"])
def test_no_secret_is_written(capsys, fmt, fields):
    logs.configure("INFO", fmt, "api")
    logs.get("a").info("connecting", **fields)
    err = capsys.readouterr().err
    assert "hunter2" not in err
    assert "***" in err


@pytest.mark.parametrize("fmt", ["json", "console"])
def test_no_secret_is_written_with_a_traceback(capsys, fmt):
    logs.configure("INFO", fmt, "api")
    address = "://:hunter2@host"
    try:
        int(f"redis{address}")
    except ValueError:
        logs.get("a").exception("lost")
        logging.getLogger("b").exception("lost too")
    err = capsys.readouterr().err
    assert "hunter2" not in err
    assert err.count("Traceback") == 2


@pytest.mark.parametrize(
    "text",
    [
        "http://h:8080/users/@me",
        "at 10:30, me@x.org",
        "https://h/?next=a@b",
        "whoever is the bearer of good news needs no authorization from us",
    ],
)
def test_what_is_no_secret_stays(text):
    assert logs.masked(text) == text


def test_a_credential_that_holds_what_is_hidden_is_masked_whole():
    logs.hide(["hunter2"])
    assert (
        logs.masked("it was told Bearer hunter2abc in vain, and more")
        == "it was told Bearer *** in vain, and more"
    )


def test_an_idempotency_key_is_no_secret(capsys):
    logs.configure("INFO", "json", "api")
    logs.get("a").info("replayed", idempotency_key="k1")
    assert lines(capsys.readouterr().err)[0]["idempotency_key"] == "k1"


def test_auto_is_for_people_on_a_terminal_and_for_machines_elsewhere(monkeypatch):
    terminal, pipe = Terminal(), io.StringIO()
    for out in (terminal, pipe):
        monkeypatch.setattr("sys.stderr", out)
        logs.configure("INFO", "auto", "api")
        logs.get("a").info("hello", run_id="r1")
    assert "hello" in terminal.getvalue()
    with pytest.raises(json.JSONDecodeError):
        lines(terminal.getvalue())
    assert lines(pipe.getvalue())[0]["run_id"] == "r1"


def test_a_line_that_cannot_be_written_does_not_stop_the_work(monkeypatch):
    closed = io.StringIO()
    monkeypatch.setattr("sys.stderr", closed)
    logs.configure("INFO", "json", "api")
    closed.close()
    logs.get("a").info("nobody reads this")


def test_strange_values_are_still_one_line(capsys):
    logs.configure("INFO", "json", "api")
    logs.get("a").info("odd", text="a\nb\udcff", thing=object(), raw=b"\xff", things={1, 2})
    assert len(lines(capsys.readouterr().err)) == 1
