import os
from pathlib import Path

import pytest

from shared import settings
from shared.settings import BadSettings, Settings


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch):
    for name in list(os.environ):
        if name.upper().startswith("DAYBOOK_") or name.lower() in settings.ALIASES:
            monkeypatch.delenv(name)


def refusal(**overrides) -> str:
    with pytest.raises(BadSettings) as caught:
        settings.load(**overrides)
    return str(caught.value)


def line(name: str, loaded: Settings) -> settings.Described:
    return next(each for each in settings.describe(loaded) if each.name == name)


def test_nothing_needs_to_be_set():
    loaded = settings.load()
    assert (loaded.env, loaded.port, loaded.partitions) == ("development", 8080, 4)
    assert (loaded.redis_url, loaded.database_url, loaded.secret_key) == (None, None, None)
    assert (loaded.queues, loaded.files_roots, loaded.data_dir) == (("default",), (), Path(".daybook"))


def test_an_argument_wins_over_the_variable_and_that_over_the_plain_alias(monkeypatch):
    monkeypatch.setenv("JOBS_PER_PAGE", "10")
    assert settings.load().jobs_per_page == 10
    monkeypatch.setenv("DAYBOOK_JOBS_PER_PAGE", "11")
    assert settings.load().jobs_per_page == 11
    assert settings.load(jobs_per_page=12).jobs_per_page == 12
    assert settings.load(jobs_per_page=None).jobs_per_page == 11


@pytest.mark.parametrize(
    ("alias", "value"),
    [
        ("DATABASE_URL", "postgresql://h/d"),
        ("REDIS_URL", "redis://h"),
        ("LOG_LEVEL", "DEBUG"),
        ("JOBS_PER_PAGE", "7"),
        ("MAX_JOBS_PER_USER", "7"),
    ],
)
def test_the_plain_names_of_platforms_are_read(monkeypatch, alias, value):
    monkeypatch.setenv(alias, value)
    assert str(getattr(settings.load(), alias.lower())) == value
    assert line(f"DAYBOOK_{alias}", settings.load()).source == "alias"


def test_other_plain_names_belong_to_others(monkeypatch):
    for name in ("PORT", "HOST", "ENV", "PREFIX", "QUEUES"):
        monkeypatch.setenv(name, "1")
    assert settings.load() == Settings()
    assert settings.load().port == 8080


def test_an_empty_variable_is_not_set(monkeypatch):
    for name in ("DAYBOOK_PORT", "DAYBOOK_REDIS_URL", "DATABASE_URL", "DAYBOOK_SMTP_URL", "DAYBOOK_WRONG"):
        monkeypatch.setenv(name, "")
    assert settings.load() == Settings()
    assert line("DAYBOOK_PORT", settings.load()).source == "default"


def test_lists_are_comma_separated(monkeypatch):
    monkeypatch.setenv("DAYBOOK_QUEUES", "default, mail,mail,")
    monkeypatch.setenv("DAYBOOK_FILES_ROOTS", "/srv/a,/srv/b c")
    assert settings.load().queues == ("default", "mail")
    assert settings.load().files_roots == (Path("/srv/a"), Path("/srv/b c"))


def test_settings_never_change():
    with pytest.raises(ValueError, match="frozen"):
        settings.load().port = 1


WRONG = [
    ("DAYBOOK_PORT", "abc", "a whole number from 0 to 65535"),
    ("DAYBOOK_PORT", "65536", "a whole number from 0 to 65535"),
    ("DAYBOOK_PARTITIONS", "0", "a whole number from 1 to 64"),
    ("DAYBOOK_PARTITIONS", "65", "a whole number from 1 to 64"),
    ("DAYBOOK_JOBS_PER_PAGE", "201", "a whole number from 1 to 200"),
    ("JOBS_PER_PAGE", "0", "a whole number from 1 to 200"),
    ("DAYBOOK_LEASE_SECONDS", "nan", "a number of seconds from 1 to 3600"),
    ("DAYBOOK_WAIT_SECONDS", "-1", "a number of seconds from 0 to 60"),
    ("DAYBOOK_LOG_LEVEL", "LOUD", "DEBUG, INFO, WARNING, ERROR or CRITICAL"),
    ("DAYBOOK_LOG_FORMAT", "xml", "auto, json or console"),
    ("DAYBOOK_ENV", "staging", "development or production"),
    ("DAYBOOK_AUTH", "maybe", "off or on"),
    ("DAYBOOK_QUEUES", "a b", "names of letters"),
    ("DAYBOOK_QUEUES", ",", "names of letters"),
    ("DAYBOOK_PREFIX", "a{b}", "1 to 40 letters"),
    ("DAYBOOK_FILES_ROOTS", "relative", "absolute paths separated by commas"),
    ("DAYBOOK_REDIS_URL", "http://host", "redis://host:6379/0"),
    ("DAYBOOK_REDIS_URL", "redis://host:port", "redis://host:6379/0"),
    ("REDIS_URL", "host:6379", "redis://host:6379/0"),
    ("DATABASE_URL", "postgresql+asyncpg://host/d", "postgresql://user:password@host:5432/database"),
]


@pytest.mark.parametrize(("name", "value", "right"), WRONG)
def test_a_wrong_setting_is_refused_with_its_name_its_value_and_what_is_right(
    monkeypatch, name, value, right
):
    monkeypatch.setenv(name, value)
    said = refusal()
    assert said.startswith(f"{name}={value} is refused: it must be {right}")
    assert said.count("\n") == 0


def test_a_wrong_argument_is_named_as_it_was_given(monkeypatch):
    monkeypatch.setenv("DAYBOOK_PORT", "9000")
    assert refusal(port=-1).startswith("port=-1 is refused")


def test_all_that_is_wrong_is_said_at_once(monkeypatch):
    monkeypatch.setenv("DAYBOOK_PORT", "x")
    monkeypatch.setenv("DAYBOOK_APIS", "y")
    monkeypatch.setenv("DAYBOOK_TYPO", "z")
    assert len(refusal().splitlines()) == 3


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("DAYBOOK_QUEUE", "DAYBOOK_QUEUE is not a setting: did you mean DAYBOOK_QUEUES?"),
        ("DAYBOOK_XYZZY", "DAYBOOK_XYZZY is not a setting: remove it."),
        ("DAYBOOK_ALLOW_SHELL", "DAYBOOK_ALLOW_SHELL is not available yet: remove it."),
    ],
)
def test_an_unknown_setting_stops_the_start(monkeypatch, name, said):
    monkeypatch.setenv(name, "1")
    assert refusal() == said


def test_variables_that_others_read_are_let_pass(monkeypatch):
    for name in (
        "DAYBOOK_URL",
        "DAYBOOK_TOKEN",
        "DAYBOOK_PARENT_PID",
        "DAYBOOK_SERVICE_HOST",  # these five: Kubernetes, for services named daybook and daybook-api
        "DAYBOOK_API_SERVICE_PORT_HTTP",
        "DAYBOOK_API_PORT_8080_TCP_ADDR",
        "DAYBOOK_API_PORT_8080_TCP",
    ):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("DAYBOOK_API_PORT", "tcp://10.0.0.1:8080")
    assert settings.load() == Settings()


def test_production_does_not_start_without_authentication(monkeypatch):
    monkeypatch.setenv("DAYBOOK_ENV", "production")
    assert refusal().startswith("DAYBOOK_ENV=production is refused with DAYBOOK_AUTH=off")
    monkeypatch.setenv("DAYBOOK_AUTH", "on")
    assert settings.load().auth == "on"


def test_a_secret_that_can_be_found_by_trying_is_refused_where_it_signs_tokens(monkeypatch):
    monkeypatch.setenv("SECRET_KEY", "x" * 31)
    assert settings.load().auth == "off"
    assert refusal(auth="on").startswith("DAYBOOK_SECRET_KEY is refused with DAYBOOK_AUTH=on")
    monkeypatch.setenv("SECRET_KEY", "x" * 32)
    assert settings.load(auth="on").auth == "on"


@pytest.mark.parametrize("source", ["/etc/keys.json", "https://id.example/keys", "http://127.0.0.1:9/keys"])
def test_keys_of_tokens_are_read_from_a_file_or_where_nobody_can_stand_between(source):
    assert settings.load(jwks=source).jwks == source


@pytest.mark.parametrize("source", ["http://id.example/keys", "ftp://host/keys", "file:///etc/keys"])
def test_keys_of_tokens_are_not_read_from_elsewhere(source):
    assert "jwks" in refusal(jwks=source)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DAYBOOK_REDIS_URL", "http://u:hunter2@h"),
        ("DAYBOOK_REDIS_URL", "u:hunter2@h"),
        ("DAYBOOK_REDIS_URL", "redis://u:sl/hunter2@h:port"),
        ("DATABASE_URL", "postgresql+asyncpg://u:hunter2@h/d"),
        ("DAYBOOK_DATABASE_URL", "pg://h/d?user=u&password=hunter2"),
    ],
)
def test_a_refusal_shows_no_password(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    said = refusal()
    assert "hunter2" not in said
    assert "***" in said


def test_a_refusal_has_no_cause_that_shows_what_it_masks(monkeypatch):
    monkeypatch.setenv("DAYBOOK_REDIS_URL", "http://u:hunter2@h")
    with pytest.raises(BadSettings) as caught:
        settings.load()
    assert caught.value.__cause__ is None
    assert "hunter2" not in str(caught.value.__context__)


def test_describe_lists_every_setting_with_source_and_meaning_but_no_secret(monkeypatch):
    monkeypatch.setenv("SECRET_KEY", "hunter2")
    monkeypatch.setenv("DAYBOOK_REDIS_URL", "redis://:hunter2@h:1/0")
    monkeypatch.setenv("DATABASE_URL", "postgresql://u@h/d?password=hunter2")
    loaded = settings.load(port=9000)
    lines = settings.describe(loaded)
    assert [each.name for each in lines] == [f"DAYBOOK_{name.upper()}" for name in Settings.model_fields]
    assert all(each.meaning for each in lines)
    assert "hunter2" not in repr(lines)
    assert line("DAYBOOK_SECRET_KEY", loaded).value == "***"
    assert line("DAYBOOK_REDIS_URL", loaded).value == "redis://:***@h:1/0"
    sources = {each.name: each.source for each in lines if each.source != "default"}
    assert sources == {
        "DAYBOOK_REDIS_URL": "environment",
        "DAYBOOK_DATABASE_URL": "alias",
        "DAYBOOK_SECRET_KEY": "alias",
        "DAYBOOK_PORT": "argument",
    }


@pytest.mark.parametrize(
    "url",
    ["postgresql://h1:5432,h2:5432/d", "postgresql:///d?host=/run/postgresql", "postgres://u:p@[::1]:5432/d"],
)
def test_every_form_of_a_postgres_address_is_accepted(monkeypatch, url):
    monkeypatch.setenv("DATABASE_URL", url)
    assert settings.load().database_url == url


@pytest.mark.parametrize("url", ["redis://h", "rediss://u:p@h:6380/1", "unix:///run/redis.sock?db=1"])
def test_every_form_of_a_redis_address_is_accepted(monkeypatch, url):
    monkeypatch.setenv("REDIS_URL", url)
    assert settings.load().redis_url == url
