"""What a handler says: kept from its end backwards, whatever it is."""

import asyncio
import json
import logging

import pytest

from services.executor.notebook import KEPT_MAX, Notebook, capture, taking_down
from shared.eventlog.envelope import json_text
from shared.handlers import GiveUp, RetryIn
from shared.testing import a_told_run as a_run


def a_notebook():
    told = []
    return Notebook(told.append), told


def test_nothing_said_is_no_output():
    assert a_notebook()[0].output() is None


def test_lines_are_kept_in_order_with_their_time():
    book, _ = a_notebook()
    book.log("one")
    book.log("two\nand a half")
    lines = book.output().text.splitlines()
    assert [line.rpartition("Z ")[2] for line in lines] == ["one", "two", "and a half"]
    assert lines[0].startswith("20")


@pytest.mark.parametrize("letter", ["x", "é", "\x1b", "\ud800", "\0", '"'])
def test_the_last_of_it_is_kept_as_much_as_an_event_takes(letter):
    book, _ = a_notebook()
    for number in range(2_000):
        book.take(f"{number:4} " + letter * 50)
    output = book.output()
    assert KEPT_MAX * 0.98 < len(json_text(output.text).encode()) <= KEPT_MAX + 2
    assert output.text.splitlines()[-1].startswith("1999 ")
    lines = output.text.splitlines()
    first = int(lines[0][:4])
    assert [int(line[:4]) for line in lines if line] == list(range(first, 2_000))
    assert output.dropped == first * len(f"{0:4} {letter * 50}\n".encode(errors="surrogatepass"))


@pytest.mark.parametrize("letter", ["x", "\x1b"])
def test_of_a_single_long_line_the_end_is_kept(letter):
    book, _ = a_notebook()
    book.take(letter * 200_000 + "end")
    output = book.output()
    assert output.text.endswith("end\n")
    assert len(json_text(output.text).encode()) <= KEPT_MAX + 2
    assert output.dropped + len(output.text) == 200_004


async def test_what_is_logged_in_its_context_is_taken_down_and_nothing_else():
    capture()
    book, _ = a_notebook()
    other, _ = a_notebook()
    words = logging.getLogger("some.library")

    async def work(name, notebook):
        with taking_down(notebook):
            words.warning("%s begins", name)
            await asyncio.sleep(0)
            await asyncio.to_thread(words.error, "%s from a thread", name)

    await asyncio.gather(work("one", book), work("two", other))
    words.warning("nobody's")
    said = [line.rpartition("Z ")[2] for line in book.output().text.splitlines()]
    assert said == ["WARNING some.library: one begins", "ERROR some.library: one from a thread"]


def test_progress_is_a_ratio_and_a_short_message():
    book, told = a_notebook()
    run = a_run()
    object.__setattr__(run, "reporter", book)
    run.progress(0.5, "m" * 300)
    run.progress(7)
    run.progress(-1)
    assert [json.loads(each)["ratio"] for each in told] == [0.5, 1.0, 0.0]
    assert len(json.loads(told[0])["message"]) == 200
    with pytest.raises(ValueError, match="NaN"):
        run.progress(float("nan"))


def test_asking_for_another_time_or_giving_up_tells_why():
    with pytest.raises(RetryIn, match="busy") as asks:
        a_run().retry_in(30, "busy")
    assert asks.value.seconds == 30
    with pytest.raises(GiveUp, match="KeyError: 'customer'"):
        _gives_up_on_a_key_error()
    for wrong in (-1, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="retry_in takes"):
            a_run().retry_in(wrong)


def _gives_up_on_a_key_error():
    try:
        {}["customer"]
    except KeyError:
        a_run().give_up()


def test_a_handler_can_be_called_without_an_executor():
    run = a_run()
    run.log("nobody listens")
    run.progress(0.5)
