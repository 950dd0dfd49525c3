"""Secrets: a reference is told from everything else, values are found where they are kept, and said nowhere."""

import json
import logging
import pickle

import pytest
from pydantic import ValidationError

from services.executor.masking import Mask
from services.executor.outcome import MESSAGE_MAX, Returned, raised, returned
from services.executor.resources import MailServer
from services.executor.secrets import SecretMissing, Secrets, of_environment
from shared import job_types, logs
from shared.job_types import BadJobData, Known, check
from shared.job_types.job_type import JobType, Strict
from shared.job_types.secrets import Revealed, Secret, SecretRef, has_references, is_reference
from shared.testing import resources

VALUE = 'pass "wörd"/7%'


@pytest.fixture(autouse=True)
def _lines_show_all_again(monkeypatch):
    monkeypatch.setattr(logs, "_hidden", {})
    monkeypatch.setattr(logs, "_hiding", None)


def ref(name="NAME"):
    return {"$secret": name}


class Login(Strict):
    user: str
    password: Secret


LOGIN = JobType(name="login", description="", model=Login)
KNOWN = Known(types=job_types.BUILT_IN | {"login": LOGIN})


def faults(job_data, job_type="login", known=KNOWN):
    with pytest.raises(BadJobData) as refusal:
        check(job_type, job_data, known=known)
    return [(fault.pointer, fault.detail) for fault in refusal.value.faults]


# At the door.


def test_a_reference_is_kept_as_it_was_given():
    data = {"user": "me", "password": ref("db.pass-word_1")}
    assert check("login", data, known=KNOWN) == data


@pytest.mark.parametrize(
    "name", ["", " ", "a/b", "../etc", ".", "..", "a b", "x" * 65, "a\n", "ä", None, 3, ["a"], {"b": 1}]
)
def test_a_name_that_could_lead_elsewhere_is_refused_with_its_place(name):
    assert faults({"user": "me", "password": ref(name)}) == [("#/job_data/password", job_types.NO_SECRET)]
    in_a_list = {"operation": "echo", "parameters": {"a/b": [1, ref(name)]}}
    assert faults(in_a_list, "custom") == [("#/job_data/parameters/a~1b/1", job_types.NO_SECRET)]


def test_a_reference_has_no_other_keys():
    assert faults({"user": "me", "password": ref() | {"default": "x"}}) == [
        ("#/job_data/password", job_types.NO_SECRET)
    ]
    assert faults(ref(3) | {"user": "me"})[0][0] == "#/job_data"


def test_a_secret_never_stands_in_the_data_itself():
    for value in ("hunter2", 3, None, ["a"], {"name": "NAME"}):
        [(pointer, detail)] = faults({"user": "me", "password": value})
        assert pointer == "#/job_data/password"
        assert 'write {"$secret": "NAME"}' in detail


def test_a_plain_field_takes_no_secret():
    assert faults({"user": ref(), "password": ref()}) == [
        ("#/job_data/user", "takes a value of its own, not a secret")
    ]
    assert faults({"operation": "sleep", "parameters": {"seconds": ref()}}, "custom") == [
        ("#/job_data/parameters/seconds", "takes a value of its own, not a secret")
    ]
    assert faults({"operation": "sleep", "parameters": ref()}, "custom")[0] == (
        "#/job_data/parameters/seconds",
        "takes a value of its own, not a secret",
    )


class Theirs(Strict):
    text: str
    times: int = 1


def test_the_model_of_a_plugin_knows_nothing_of_secrets_and_its_jobs_have_them_all_the_same():
    theirs = JobType(name="theirs", description="", model=Theirs, source="somebody")
    known = Known(types={"theirs": theirs})
    data = {"text": ref(), "times": 3}
    assert check("theirs", data, known=known) == data
    assert faults(data | {"times": "3"}, "theirs", known)[0][0] == "#/job_data/times"
    assert faults(data | {"text": ref("/")}, "theirs", known)[0][0] == "#/job_data/text"


def test_a_type_whose_packages_are_not_installed_is_refused_with_what_would_install_them():
    needy = JobType(name="needy", description="", model=None, extra="data", needs=("json", "no_such_module"))
    known = Known(types={"needy": needy})
    sentence = "needs `pip install daybook[data]` (no_such_module not installed here)"
    assert faults({}, "needy", known) == [("#/job_type", f"needy {sentence}")]
    [described] = job_types.describe(known)
    assert (described["available"], described["why_not"], described["extra"]) == (False, sentence, "data")


def test_the_schema_of_a_secret_shows_how_it_is_written():
    schema = LOGIN.schema()
    assert schema["$defs"]["SecretRef"]["properties"]["$secret"]["pattern"]
    assert schema["properties"]["password"]["$ref"] == "#/$defs/SecretRef"


def test_references_are_found_however_deep():
    assert has_references([{"a": [{"b": ref()}]}])
    assert not has_references([{"a": [{"b": {"secret": "NAME"}}]}])
    assert is_reference(ref())
    assert not is_reference(["$secret"])


# In the executor.


def test_a_model_takes_the_value_where_it_takes_the_reference():
    login = Login.model_validate({"user": "me", "password": Revealed("hunter2")})
    assert login.password == "hunter2"  # noqa: S105
    assert "hunter2" not in repr(login)
    assert "hunter2" not in login.model_dump_json()
    with pytest.raises(ValidationError):
        Login.model_validate({"user": "me", "password": "hunter2"})


def test_a_revealed_value_is_a_string_that_doesnt_show_itself_and_travels():
    value = pickle.loads(pickle.dumps(Revealed("hunter2")))  # noqa: S301
    assert (f"{value}", value + "!", json.dumps([value])) == ("hunter2", "hunter2!", '["hunter2"]')
    assert (repr(value), repr([value]), type(value)) == ("'***'", "['***']", Revealed)


def test_the_directory_comes_before_the_environment(tmp_path):
    (tmp_path / "BOTH").write_text("of the file\n")
    (tmp_path / "LINES").write_text("a\nb\n\n")
    (tmp_path / "EMPTY").write_text("")
    environ = {"DAYBOOK_SECRET__BOTH": "of the environment", "DAYBOOK_SECRET__ONLY": "there ", "ONLY": "no"}
    secrets = Secrets(directory=tmp_path, environ=environ)
    told = {"a": [ref("BOTH"), ref("ONLY")], "b": {"c": ref("LINES")}, "d": ref("EMPTY"), "e": 1}
    assert secrets.revealed(told) == {
        "a": ["of the file", "there "],
        "b": {"c": "a\nb\n"},
        "d": "",
        "e": 1,
    }
    assert told["a"] == [ref("BOTH"), ref("ONLY")]
    assert type(secrets.value(SecretRef(**ref("BOTH")))) is Revealed


def test_a_file_is_read_anew_each_time_and_may_be_a_link_as_kubernetes_makes_them(tmp_path):
    (tmp_path / "..data").mkdir()
    (tmp_path / "..data" / "KEY").write_text("old")
    (tmp_path / "KEY").symlink_to("..data/KEY")
    secrets = Secrets(directory=tmp_path)
    assert secrets.value(SecretRef(**ref("KEY"))) == "old"
    (tmp_path / "..data" / "KEY").write_text("new")
    assert secrets.value(SecretRef(**ref("KEY"))) == "new"


def test_only_variables_of_secrets_are_kept_of_the_environment(monkeypatch):
    monkeypatch.setenv("DAYBOOK_SECRET__A", "a")
    monkeypatch.setenv("DAYBOOK_SECRET_KEY", "k")
    assert dict(of_environment(None).environ) == {"DAYBOOK_SECRET__A": "a"}


@pytest.mark.parametrize("name", ["../outside", "..", ".", "/etc/passwd", "a/b", ""])
def test_no_name_leads_out_of_the_directory(tmp_path, name):
    (tmp_path / "outside").write_text("precious")
    (tmp_path / "in").mkdir()
    secrets = Secrets(directory=tmp_path / "in", environ={f"DAYBOOK_SECRET__{name}": "x"})
    with pytest.raises(SecretMissing):
        secrets.value(SecretRef.model_construct(name=name))
    with pytest.raises(SecretMissing):
        secrets.revealed({"a": ref(name)})


@pytest.mark.parametrize(
    ("content", "why"),
    [(None, "is neither a file in DAYBOOK_SECRETS_DIR nor the variable DAYBOOK_SECRET__KEY"),
     (b"\xff\xfe", "is no UTF-8 text"), (b"x" * 70_000, "has more than 65,536 bytes"),
     ("directory", "can't be read: Is a directory")],
)  # fmt: skip
def test_a_secret_that_isnt_there_or_cant_be_used_gives_the_run_up(tmp_path, content, why):
    if content == "directory":
        (tmp_path / "KEY").mkdir()
    elif content is not None:
        (tmp_path / "KEY").write_bytes(content)
    with pytest.raises(SecretMissing, match=why) as error:
        Secrets(directory=tmp_path).revealed({"a": ref("KEY")})
    outcome = raised(error.value)
    assert (outcome.give_up, outcome.error.class_) == (True, "SecretMissing")
    assert error.value.__cause__ is None or "xxx" not in str(error.value.__cause__)


# Masking.


def masking(*values):
    mask = Mask()
    for value in values:
        mask.hide(value)
    return mask


@pytest.mark.parametrize(
    "said",
    [
        VALUE,
        repr(VALUE),
        json.dumps(VALUE),
        json.dumps(VALUE, ensure_ascii=False),
        "https://u:pass%20%22w%C3%B6rd%22%2F7%25@h/",
        "q=pass+%22w%C3%B6rd%22%2F7%25",
    ],
)
def test_a_value_is_masked_in_each_of_its_spellings(said):
    shown = masking(VALUE).text(f"before {said} after")
    assert "***" in shown
    assert "rd" not in shown
    assert shown.startswith("before ")
    assert shown.endswith(" after")


def test_of_an_address_the_password_alone_is_masked_too():
    mask = masking("postgresql://me:hunt%2Fer2@host/db")
    assert mask.text("a hunt/er2 b hunt%2Fer2 c") == "a *** b *** c"
    assert mask.text("host and db and me") == "host and db and me"


def test_of_a_text_of_several_lines_each_line_is_masked():
    mask = masking("-----BEGIN KEY-----\nMIIEvQIBADAN\nab\n-----END KEY-----\n")
    assert mask.text("read MIIEvQIBADAN, ab") == "read ***, ab"


def test_the_longest_value_is_masked_first():
    assert masking("hunter", "hunter2-and-more").text("is hunter2-and-more hunter") == "is *** ***"


def test_short_values_are_not_masked():
    assert masking("abc", "", "x").text("abc x") == "abc x"
    assert masking("abcd").text("abcd") == "***"


def test_what_is_masked_stays_json_and_nothing_else_is_touched():
    mask = masking("true", "1234", "hunter2", "null")
    result = {
        "said": 'a "hunter2" b', "list": [1, 1234, 12345, 1.5, True, False, None, "x"], "hunter2": {"k": "no"},
    }  # fmt: skip
    assert mask.outcome(returned(result)) == Returned(
        result={
            "said": 'a "***" b',
            "list": [1, "***", 12345, 1.5, True, False, None, "x"],
            "***": {"k": "no"},
        }
    )
    assert Mask().outcome(returned(result)) == Returned(result=result)


def test_two_keys_that_look_the_same_when_masked_are_both_kept():
    assert masking("aaaa", "bbbb").json({"aaaa": 1, "bbbb": 2, "c": 3}) == {"***": 1, "*** 2": 2, "c": 3}


def test_an_error_is_masked_before_it_is_cut():
    mask = masking("hunter2-and-more")
    message = "x" * (MESSAGE_MAX - 5) + "hunter2-and-more"
    outcome = raised(type("hunter2-and-moreError", (ValueError,), {})(message), mask.text)
    assert outcome.error.message == "x" * (MESSAGE_MAX - 5) + "***"
    assert outcome.error.class_ == "***Error"
    assert "ValueError" in outcome.names


def test_the_deployments_own_passwords_are_masked_but_no_word_that_also_means_something_else():
    mask = Mask()
    mail = MailServer.of("smtp://me:smtp-pass-word@host:587", "a@b")
    told = resources(
        mail=mail, database_url="postgresql://postgres:postgres@host/db", secret_key=Revealed("k" * 32)
    ).for_run(mask)
    said = f"smtp-pass-word {'k' * 32} postgresql://postgres:postgres@host/other kind postgres"
    assert mask.text(said) == "*** *** postgresql://postgres***host/other kind postgres"
    assert told.secrets.value("postgresql://u:long-pass-word@h/d") == "postgresql://u:long-pass-word@h/d"
    assert told.secrets.value("eu-central-1") == "eu-central-1"
    assert mask.text("long-pass-word in eu-central-1") == "*** in eu-central-1"


def test_resources_travel_and_show_nothing():
    told = resources(
        mail=MailServer.of("smtps://me:hunter22@host", "a@b"),
        database_url="postgresql://u:hunter22@h/d",
        redis_url="redis://:hunter22@h",
        secret_key=Revealed("hunter22"),
        secrets=Secrets(environ={"DAYBOOK_SECRET__A": "hunter22"}),
    )
    there = pickle.loads(pickle.dumps(told))  # noqa: S301
    assert there.mail == told.mail
    assert there.secrets.value(SecretRef(**ref("A"))) == "hunter22"
    assert "hunter22" not in repr(told)


@pytest.mark.parametrize(
    ("url", "host", "port", "tls", "starttls"),
    [
        ("smtp://h", "h", 587, False, "auto"),
        ("smtp://h:25?starttls=off", "h", 25, False, "off"),
        ("smtp://[::1]:2525/?starttls=required", "::1", 2525, False, "required"),
        ("smtps://h", "h", 465, True, "auto"),
    ],
)
def test_the_address_of_a_mail_server_says_how_it_is_spoken_to(url, host, port, tls, starttls):
    mail = MailServer.of(url, "a@b")
    assert (mail.host, mail.port, mail.tls, mail.starttls, mail.user) == (host, port, tls, starttls, "")


def test_user_and_password_of_a_mail_server_are_unquoted():
    mail = MailServer.of("smtp://me%40here:p%2Fw@h", "a@b")
    assert (mail.user, mail.password) == ("me@here", "p/w")


def test_lines_of_the_whole_process_are_masked_once_a_value_was_revealed(capsys):
    logs.configure("INFO", "json", "test")
    logs.get("x").info("before", word="hunter22")
    masking("hunter22")
    try:
        int("was hunter22")
    except ValueError:
        logs.get("x").exception("it said hunter22", word="hunter22", deep=[{"a": "hunter22"}])
    logging.getLogger("their.library").warning("they said %s", "hunter22")
    before, *lines = capsys.readouterr().err.splitlines()
    assert "hunter22" in before
    assert len(lines) == 2
    assert "hunter22" not in "".join(lines)
    assert [json.loads(line)["message"] for line in lines] == ["it said ***", "they said ***"]
