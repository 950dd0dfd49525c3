"""`email_notification`'s data, addresses, mail servers' URLs, and templates: what is taken and what is refused."""

from pathlib import Path

import pytest

from services.executor.handlers.email_notification_templates import BadTemplate, rendered
from shared.job_types import BadJobData, Known, check, mail_templates
from shared.job_types.catalog import Catalog
from shared.job_types.mail_server import BadMailSettings, mail_server, senders
from shared.job_types.mailboxes import Mailbox, mailbox

OURS = senders("Daybook <jobs@example.com>, reports@example.com")
OFFERED = Catalog(files_roots=(Path("/srv/files"),), senders=OURS)


def faults(catalog=OFFERED, **job_data):
    with pytest.raises(BadJobData) as refusal:
        check("email_notification", job_data, known=Known(), catalog=catalog)
    return [(fault.pointer.removeprefix("#/"), fault.detail) for fault in refusal.value.faults]


# Data.


@pytest.mark.parametrize(
    "data",
    [
        {
            "recipient": "user@company.com",
            "subject": "Weekly Report Ready",
            "body": "Your weekly report has been generated and is ready for review.",
        },
        {"recipient": "test@example.com"},
        {"recipients": ["Anna <a@example.com>", "b@example.com"], "cc": [], "bcc": ["c@example.com"]},
        {"recipient": "a@żółw.example", "html": "<p>x</p>", "reply_to": '"Łódź office" <x@example.com>'},
        {"recipient": "a@b.c", "from": "Any Name <reports@example.com>"},
        {"recipient": "a@b.c", "template": "notice", "context": {"message": "{{ 7 * 7 }}"}},
        {"recipient": "a@b.c", "attachments": [{"path": "/srv/files/a.pdf", "name": "Łódź.pdf"}]},
    ],
)
def test_good_data_is_kept_as_it_was_given(data):
    assert check("email_notification", data, known=Known(), catalog=OFFERED) == data


@pytest.mark.parametrize(
    ("change", "pointer", "said"),
    [
        ({"recipient": None}, "job_data", "one of the two"),
        ({"recipients": ["c@d.e"]}, "job_data", "one of the two"),
        ({"recipient": None, "recipients": []}, "job_data/recipients", "at least 1"),
        ({"recipient": "nobody"}, "job_data/recipient", "user@example.com"),
        ({"cc": ["a@b.c", "d@e f"]}, "job_data/cc/1", "no domain"),
        ({"recipient": "a@b.c\r\nBcc: x@y.z"}, "job_data/recipient", "line breaks"),
        ({"reply_to": "a\0@b.c"}, "job_data/reply_to", "control"),
        ({"subject": "Hi\nBcc: x@y.z"}, "job_data/subject", "line breaks"),
        ({"subject": "Hi\u2028there"}, "job_data/subject", "line breaks"),
        ({"subject": ""}, "job_data/subject", "at least 1"),
        ({"from": "boss@example.com"}, "job_data/from", "DAYBOOK_MAIL_FROM"),
        ({"template": "nope"}, "job_data/template", "there are notice"),
        ({"template": "../../etc/passwd"}, "job_data/template", "pattern"),
        ({"template": "{{ 7 * 7 }}"}, "job_data/template", "pattern"),
        ({"template": "notice", "body": "x"}, "job_data", "leave body and html out"),
        ({"context": {}}, "job_data", "template"),
        ({"template": "notice", "context": {"a b": 1}}, "job_data/context/a b/[key]", "pattern"),
        ({"template": "notice", "context": {"a": [{"$secret": "X"}]}}, "job_data/context", "not mailed"),
        ({"body": {"$secret": "X"}}, "job_data/body", "not a secret"),
        ({"attachments": [{"path": "/etc/passwd"}]}, "job_data/attachments/0/path", "outside"),
        ({"attachments": [{"path": "/srv/files/../x"}]}, "job_data/attachments/0/path", "'..'"),
        (
            {"attachments": [{"path": "/srv/files/a", "name": "../a"}]},
            "job_data/attachments/0/name",
            "not a path",
        ),
        ({"attachments": [{"path": "/srv/files/a"}] * 21}, "job_data/attachments", "at most 20"),
        ({"cc": [f"u{number}@b.c" for number in range(100)]}, "job_data", "101 recipients"),
        ({"cc": [f"u{number}@{'d' * 60}.{'e' * 60}.c" for number in range(99)]}, "job_data", "8,000"),
        ({"to": "a@b.c"}, "job_data/to", "not a field"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(change, pointer, said):
    data = {key: value for key, value in ({"recipient": "a@b.c"} | change).items() if value is not None}
    [(where, detail)] = faults(**data)
    assert where == pointer
    assert said in detail


def test_without_a_mail_server_it_is_refused_at_creation():
    assert faults(Catalog(), recipient="a@b.c") == [
        ("job_type", "there is no mail server to hand it to: the operator sets DAYBOOK_SMTP_URL")
    ]


def test_the_same_person_twice_is_one_recipient():
    data = {"recipient": "a@b.c", "cc": ["A <a@B.C>"] * 100}
    assert check("email_notification", data, known=Known(), catalog=OFFERED) == data


# Addresses.


@pytest.mark.parametrize(
    ("text", "name", "address"),
    [
        ("user@company.com", "", "user@company.com"),
        ("  Anna Łódź  <Anna.B+x@Example.COM> ", "Anna Łódź", "Anna.B+x@example.com"),
        ('"Anna B." <a@localhost>', "Anna B.", "a@localhost"),
        ("<o'neil@example.com>", "", "o'neil@example.com"),
        ("a@żółw.example", "", "a@xn--w-uga1v8h.example"),
        ("a@straße.de", "", "a@xn--strae-oqa.de"),
    ],
)
def test_an_address_is_read_as_people_write_it(text, name, address):
    assert mailbox(text) == Mailbox(name, address)


@pytest.mark.parametrize(
    "text",
    [
        "", "@", "a@", "@b.c", "a b@c.d", "a@b@c.d", "a@b..c", "a@.b", "a@b.", "a@-b.c", "a@b_c.d", "a@[127.0.0.1]",
        ".a@b.c", "a.@b.c", "a..b@c.d", '"a b"@c.d', "łódź@c.d", "a@b.c, d@e.f", "a@b.c;d@e.f", "a@b.c>",
        "Name <a@b.c> x", "Name <a@b.c", "A, B <a@b.c>", "x@y.z <a@b.c>", "=?utf-8?q?x?= <a@b.c>", f"{'a' * 65}@b.c",
        f"a@{'b' * 64}.c", f"a@{'.'.join(['b' * 60] * 5)}", "a@b.c\n", "a\x7f@b.c", "a@b\x85.c", "Na\rme <a@b.c>",
        "a@\u2024b.c..", "a@☃️.\ud800",
    ],
)  # fmt: skip
def test_what_is_no_address_everywhere_is_none_here(text):
    with pytest.raises(ValueError, match=r"\w"):
        mailbox(text)


# The mail server's URL.


@pytest.mark.parametrize(
    ("url", "port", "security"),
    [
        ("smtp://host", 25, "auto"),
        ("smtp://host:2525?starttls=off", 2525, "off"),
        ("smtp://u:p@host", 587, "required"),
        ("smtp://u:p@host?starttls=auto", 25, "auto"),
        ("smtps://u:p@host", 465, "tls"),
        ("smtps://[::1]:1465/", 1465, "tls"),
    ],
)
def test_a_url_says_how_mail_is_handed_in(url, port, security):
    server = mail_server(url)
    assert (server.port, server.security) == (port, security)


def test_a_url_has_a_login_and_a_file_of_authorities():
    server = mail_server("smtps://me%40x:p%40ss%2F%25@host?ca_file=/etc/ca%20file.pem", "A <a@b.c>,d@e.f")
    assert (server.username, server.password, server.ca_file) == ("me@x", "p@ss/%", Path("/etc/ca file.pem"))
    assert server.sender == Mailbox("A", "a@b.c")
    assert server.allows(mailbox("Whoever <d@e.f>"))
    assert not server.allows(mailbox("x@b.c"))
    assert "p@ss" not in repr(server)


@pytest.mark.parametrize(
    "url",
    [
        "http://host", "smtp://", "smtp://host/path", "smtp://host:0", "smtp://host:x", "smtp://host#x",
        "smtp://host?starttls=maybe", "smtp://host?starttls", "smtps://host?starttls=off", "smtp://host?tls=1",
        "smtp://host?starttls=off&starttls=required", "smtps://host?ca_file=ca.pem", "smtps://host?ca_file=",
    ],
)  # fmt: skip
def test_a_url_that_means_nothing_is_refused(url):
    with pytest.raises(BadMailSettings, match="DAYBOOK_SMTP_URL"):
        mail_server(url)


@pytest.mark.parametrize("text", ["", "nobody", "a@b.c,", "a@b.c, x"])
def test_senders_that_are_none_are_refused(text):
    with pytest.raises(BadMailSettings, match="DAYBOOK_MAIL_FROM"):
        senders(text)


# Templates.

FACTS = {"subject": "Hello", "job_name": "weekly", "run_id": "r1", "scheduled_for": "now"}


def a_template(folder, name, text):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")
    return folder


def test_the_notice_makes_text_and_html():
    context = {
        "message": "Łódź <b>€</b>",
        "details": {"rows": 5, "<i>": "&"},
        "link": "https://example.com/?a=1&b=2",
        "link_text": "Look",
    }
    made = rendered("notice", FACTS | context, None)
    assert made["txt"].startswith(
        "Hello\n\nŁódź <b>€</b>\n\nrows: 5\n<i>: &\n\nhttps://example.com/?a=1&b=2\n"
    )
    assert '<p style="white-space: pre-line">Łódź &lt;b&gt;€&lt;/b&gt;</p>' in made["html"]
    assert '<a href="https://example.com/?a=1&amp;b=2">Look</a>' in made["html"]
    assert "&lt;i&gt;" in made["html"]
    assert "details" not in rendered("notice", FACTS | {"message": "x"}, None)["txt"]


@pytest.mark.parametrize("link", ["javascript:alert(1)", "data:text/html,x", ["https://x"], " https://x"])
def test_the_notice_links_to_web_pages_only(link):
    assert "<a " not in rendered("notice", FACTS | {"message": "x", "link": link}, None)["html"]


@pytest.mark.parametrize(
    "value",
    [
        "{{ 7 * 7 }}",
        "{% for x in [1] %}{% endfor %}",
        "{{ subject.__class__ }}",
        "{# no #}",
        "</p><script>x</script>",
    ],
)
def test_what_looks_like_a_template_in_a_value_stays_as_it_is(value):
    made = rendered("notice", FACTS | {"message": value}, None)
    assert value in made["txt"]
    assert value.replace("<", "&lt;").replace(">", "&gt;") in made["html"]
    assert "<script>" not in made["html"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{{ nothing_of_the_kind }}", "nothing_of_the_kind"),
        ("{{ subject.__class__.__mro__ }}", "SecurityError"),
        ("{{ ''.__class__.__base__.__subclasses__() }}", "SecurityError"),
        ("{{ details.clear() }}", "SecurityError"),
        ("{{ 'x' * 10 ** 6 + 'yy' }}", "more than 1,000,000"),
        ("{% for x in range(10 ** 9) %}{% endfor %}", "OverflowError"),
        ("{% include '../secret.txt' %}", "TemplateNotFound"),
        ("{% if %}", "TemplateSyntaxError"),
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
    ],
)
def test_a_template_that_fails_is_told(tmp_path, text, said):
    a_template(tmp_path, "secret.txt", "secret")
    folder = a_template(tmp_path / "ours", "bad.txt", text)
    with pytest.raises(BadTemplate, match=said):
        rendered("bad", FACTS | {"details": {}}, folder)


def test_the_operators_templates_are_found_by_name_and_go_before_ours(tmp_path):
    a_template(tmp_path, "hello.html", "<p>{{ who }}{% include 'foot.html' %}</p>")
    a_template(tmp_path, "foot.html", " {{ subject }}")
    a_template(tmp_path, "notice.txt", "theirs")
    a_template(tmp_path, "un fit.txt", "")
    a_template(tmp_path, "other.pdf", "")
    assert mail_templates.names(tmp_path) == ("foot", "hello", "notice")
    assert rendered("hello", FACTS | {"who": "<you>"}, tmp_path) == {"html": "<p>&lt;you&gt; Hello</p>"}
    assert rendered("notice", FACTS, tmp_path) == {"txt": "theirs"}
    assert mail_templates.names(tmp_path / "none") == ("notice",)


@pytest.mark.parametrize("name", ["nope", "../notice", "notice.txt", "", ".", "notice\n"])
def test_a_template_that_isnt_there_is_told_with_those_that_are(name):
    with pytest.raises(BadTemplate, match="there are notice"):
        rendered(name, FACTS, None)
