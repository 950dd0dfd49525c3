"""Reports by mail, made in a process of the pool, taken by a real mail server: to the byte, and once only by its id."""

import asyncio
from functools import partial

import pytest

from services.executor.notebook import Notebook
from services.executor.outcome import Returned
from services.executor.plugins import call_ours
from services.executor.pool import Pool
from shared.job_types.catalog import Source
from shared.testing import a_told_run, resources, wait_until
from tests.integration.smtp_kit import Post

ANNA, BERT = "anna@example.com", "Bert B. <bert@example.com>"


@pytest.fixture
async def post():
    made = await Post().start()
    yield made
    await made.stop()


@pytest.fixture
async def pool():
    made = Pool(processes=1, log_level="INFO", log_format="json")
    yield made
    await asyncio.to_thread(made.stop)
    made.close()


@pytest.fixture
def root(tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "sales.csv").write_text(
        "sold_on,city,amount\n2026-10-05,Łódź €,12.50\n2026-10-06,Győr,7.25\n"
    )
    return tmp_path / "root"


@pytest.fixture
def call(pool, post, root):
    """Call the handler as an executor does; `heard` has what it said of its progress."""
    sales = Source(name="sales_data", kind="csv", path=root.parent / "sales.csv")
    heard = []

    async def made(*, attempt=1, mail=None, timeout_s=60, **data):
        offered = resources(files_roots=(root,), sources={"sales_data": sales}, mail=mail or post.server())
        run = a_told_run("report_generation", attempt, **{"report_type": "sales", "format": "pdf"} | data)
        handler = partial(call_ours, "report_generation", offered)
        return await pool.call(handler, run, Notebook(heard.append), timeout_s=timeout_s, context={})

    made.heard = heard
    return made


async def test_the_mail_has_the_file_to_the_byte(call, post, root):
    outcome = await call(recipients=[ANNA, BERT], title="Sprzedaż: Łódź €")
    assert isinstance(outcome, Returned), outcome
    assert outcome.result["mailed"] == {"accepted": [ANNA, "bert@example.com"], "refused": {}}
    (mail,) = post.mails
    (attachment,) = mail.message.iter_attachments()
    assert attachment.get_content() == (root / "reports" / "r.pdf").read_bytes()
    assert (attachment.get_content_type(), attachment.get_filename()) == ("application/pdf", "r.pdf")
    assert (mail.sender, mail.recipients) == ("jobs@daybook.test", [ANNA, "bert@example.com"])
    assert (mail.message["Subject"], mail.message["To"]) == (
        "Sprzedaż: Łódź €",
        f'{ANNA}, "Bert B." <bert@example.com>',
    )
    text = mail.message.get_body(("plain",)).get_content()
    assert "Records: 2" in text
    assert "amount: 19.75" in text


@pytest.mark.parametrize("to", ["html", "csv", "xlsx", "json"])
async def test_each_format_is_mailed_as_what_it_is(call, post, root, to):
    outcome = await call(recipients=[ANNA], format=to)
    assert isinstance(outcome, Returned), outcome
    (attachment,) = post.mails[0].message.iter_attachments()
    content = attachment.get_payload(decode=True)
    assert content == (root / "reports" / f"r.{to}").read_bytes()


async def test_a_second_attempt_mails_under_the_same_message_id(call, post, root):
    for attempt in (1, 2):
        assert isinstance(await call(attempt=attempt, recipients=[ANNA]), Returned)
    first, second = [mail.message["Message-ID"] for mail in post.mails]
    assert first == second == "<r@daybook.test>"
    assert [path.name for path in (root / "reports").iterdir()] == ["r.pdf"]


async def test_who_is_refused_stands_in_the_result(call, post):
    post.says["bert@example.com"] = "550 no such user"
    outcome = await call(recipients=[ANNA, BERT])
    assert outcome.result["mailed"]["accepted"] == [ANNA]
    assert "550" in outcome.result["mailed"]["refused"]["bert@example.com"]


async def test_mail_that_nobody_takes_now_fails_the_attempt_and_the_file_is_kept(call, post, root):
    post.says["RCPT"] = "451 later"
    outcome = await call(recipients=[ANNA])
    assert (outcome.error.class_, outcome.give_up) == ("MailDeferred", False)
    assert (root / "reports" / "r.pdf").exists()


async def test_mail_that_nobody_takes_ever_is_given_up(call, post):
    post.says["RCPT"] = "550 no"
    outcome = await call(recipients=[ANNA])
    assert outcome.give_up
    assert "550" in outcome.error.message


async def test_without_a_mail_server_only_mail_fails(call, pool, root):
    run = a_told_run(
        "report_generation", report_type="dataset", dataset=str(root / "a.csv"), recipients=[ANNA]
    )
    (root / "a.csv").write_text("n\n1\n")
    handler = partial(call_ours, "report_generation", resources(files_roots=(root,)))
    outcome = await pool.call(handler, run, Notebook(str), timeout_s=60, context={})
    assert (outcome.error.class_, outcome.give_up) == ("NoMailServer", False)


async def test_a_report_that_is_cancelled_while_it_is_mailed_is_gone_at_once(call, post, root):
    silence = asyncio.Event()

    async def never():
        await silence.wait()

    post.says["DATA"] = never
    task = asyncio.create_task(call(recipients=[ANNA]))
    await wait_until(
        lambda: ("RCPT", ANNA) in [asked[:2] for asked in post.asked], "it is mailing", timeout_s=30
    )
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await wait_until(lambda: all(each.is_closing() for each in post.transports), "its connection is gone")
    assert [path.name for path in (root / "reports").iterdir()] == ["r.pdf"]
    silence.set()
    post.says.clear()
    assert isinstance(await call(attempt=2, recipients=[ANNA]), Returned)


async def test_it_says_how_far_it_is(call):
    await call(recipients=[ANNA])
    said = "".join(call.heard)
    assert all(each in said for each in ("reading", "as pdf", "mailing"))
