import os
from pathlib import Path

import pytest

from shared import environment, settings
from shared.rate import Rate
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


def test_rates_of_job_types_are_read_and_shown(monkeypatch):
    monkeypatch.setenv("DAYBOOK_TYPE_RATES", "http_request=10/s, email_notification=100/m")
    told = settings.load()
    assert told.type_rates == (("http_request", Rate(10, 1)), ("email_notification", Rate(100, 60)))
    assert line("DAYBOOK_TYPE_RATES", told).value == "http_request=10/s,email_notification=100/m"


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
    ("DAYBOOK_SOURCES", "sources.yaml", "an absolute path"),
    ("DAYBOOK_SECRETS_DIR", "secrets", "an absolute path"),
    ("DAYBOOK_TEMPLATES_DIR", "templates", "an absolute path"),
    ("DAYBOOK_ALLOW_SQL", "perhaps", "true or false"),
    ("DAYBOOK_HTTP_NETWORKS", "0.0.0.0/0", "networks or addresses of your own"),
    ("DAYBOOK_HTTP_NETWORKS", "intranet", "networks or addresses of your own"),
    ("DAYBOOK_MAIL_FROM", "nobody", "an address"),
    ("DAYBOOK_MAIL_FROM", "Me <me@example.com>,", "an address"),
    ("DAYBOOK_HANDLERS", "my-module", "names of modules"),
    ("DAYBOOK_TYPE_RATES", "http_request", "job types with so many starts"),
    ("DAYBOOK_TYPE_RATES", "http_request=10", "job types with so many starts"),
    ("DAYBOOK_TYPE_RATES", "=10/s", "job types with so many starts"),
    ("DAYBOOK_TYPE_RATES", "http_request=off", "job types with so many starts"),
    ("DAYBOOK_TYPE_RATES", "a=1/s,a=2/s", "job types with so many starts"),
    ("DAYBOOK_HANDLERS", "../module", "names of modules"),
    ("DAYBOOK_SMTP_URL", "http://host", "smtp://user:password@host:587"),
    ("DAYBOOK_SMTP_URL", "smtp://", "smtp://user:password@host:587"),
    ("DAYBOOK_SMTP_URL", "smtp://host:port", "smtp://user:password@host:587"),
    ("DAYBOOK_SMTP_URL", "smtp://host/path", "smtp://user:password@host:587"),
    ("DAYBOOK_SMTP_URL", "smtp://host?starttls=maybe", "smtp://user:password@host:587"),
    ("DAYBOOK_SMTP_URL", "smtp://host?start=off", "smtp://user:password@host:587"),
    ("DAYBOOK_SMTP_URL", "smtps://host?starttls=off", "smtp://user:password@host:587"),
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
        ("DAYBOOK_SMTP_URL", "http://u:hunter2@h"),
        ("DAYBOOK_SMTP_URL", "smtp://u:hunter2@h?starttls=x"),
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


def test_what_jobs_may_use_is_set(monkeypatch):
    told = {
        "SOURCES": "/srv/sources.yaml", "SECRETS_DIR": "/run/secrets", "TEMPLATES_DIR": "/srv/templates",
        "ALLOW_SQL": "true", "HTTP_NETWORKS": "10.0.0.0/8,::1", "MAIL_FROM": "jobs@example.com",
        "MAIL_DIR": "mail", "HANDLERS": "mine,their.jobs", "SMTP_URL": "smtp://me:hunter2@h:25?starttls=required",
    }  # fmt: skip
    for name, value in told.items():
        monkeypatch.setenv(f"DAYBOOK_{name}", value)
    loaded = settings.load()
    assert (loaded.sources, loaded.secrets_dir) == (Path("/srv/sources.yaml"), Path("/run/secrets"))
    assert (loaded.allow_sql, loaded.handlers) == (True, ("mine", "their.jobs"))
    assert [str(each) for each in loaded.http_networks] == ["10.0.0.0/8", "::1/128"]
    assert loaded.smtp_url.get_secret_value() == told["SMTP_URL"]
    assert line("DAYBOOK_SMTP_URL", loaded).value == "smtp://me:***@h:25?starttls=required"
    assert line("DAYBOOK_HTTP_NETWORKS", loaded).value == "10.0.0.0/8,::1/128"
    assert "hunter2" not in repr(loaded) + str(loaded)


@pytest.mark.parametrize("url", ["smtp://h", "smtps://u%40x:p@h:465", "smtp://[::1]:25/?starttls=off"])
def test_every_form_of_a_mail_servers_address_is_accepted(monkeypatch, url):
    monkeypatch.setenv("DAYBOOK_SMTP_URL", url)
    assert settings.load().smtp_url.get_secret_value() == url


def test_secrets_in_the_environment_are_nobodys_typing_errors(monkeypatch):
    monkeypatch.setenv("DAYBOOK_SECRET__NAME", "x")
    monkeypatch.setenv("DAYBOOK_SECRET__db.pass-word", "x")
    assert settings.load() == Settings()
    monkeypatch.setenv("DAYBOOK_SECRET_NAME", "x")
    assert "DAYBOOK_SECRET_NAME is not a setting" in refusal()


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


def in_file(tmp_path, monkeypatch, name: str, text: str) -> Path:
    file = tmp_path / name.lower()
    file.write_text(text)
    monkeypatch.setenv(f"DAYBOOK_{name}_FILE", str(file))
    return file


def test_what_may_hold_a_password_may_stand_in_a_file(tmp_path, monkeypatch):
    monkeypatch.setenv("REDIS_URL", "redis://alias")
    in_file(tmp_path, monkeypatch, "REDIS_URL", "redis://:secret@host:6379/0\n")
    in_file(tmp_path, monkeypatch, "SECRET_KEY", " spaces are kept \n")
    loaded = settings.load()
    assert loaded.redis_url == "redis://:secret@host:6379/0"
    assert loaded.secret_key is not None
    assert loaded.secret_key.get_secret_value() == " spaces are kept "
    shown = line("DAYBOOK_REDIS_URL", loaded)
    assert (shown.source, "secret" in shown.value) == ("file", False)
    assert settings.load(redis_url="redis://said").redis_url == "redis://said"


def test_what_a_file_holds_is_judged_like_any_value_and_masked(tmp_path, monkeypatch):
    file = in_file(tmp_path, monkeypatch, "DATABASE_URL", "mysql://me:secret@host/d")
    said = refusal()
    assert said.startswith(f"DAYBOOK_DATABASE_URL (in {file})=mysql://")
    assert "secret" not in said


@pytest.mark.parametrize("text", ["", "\n", None])
def test_a_file_without_a_value_is_refused_rather_than_the_default_taken(tmp_path, monkeypatch, text):
    file = in_file(tmp_path, monkeypatch, "SECRET_KEY", text or "")
    if text is None:
        file.unlink()
    assert refusal().startswith(f"DAYBOOK_SECRET_KEY_FILE={file} is refused: it must be a file")


def test_a_setting_and_its_file_are_not_both_right(tmp_path, monkeypatch):
    in_file(tmp_path, monkeypatch, "REDIS_URL", "redis://file")
    monkeypatch.setenv("DAYBOOK_REDIS_URL", "redis://variable")
    assert "are both set" in refusal()


def test_settings_without_passwords_have_no_files(monkeypatch):
    monkeypatch.setenv("DAYBOOK_HOST_FILE", "/etc/hostname")
    assert "DAYBOOK_HOST_FILE is not a setting" in refusal()


def test_a_child_is_not_told_of_the_file_of_what_it_is_given(monkeypatch):
    given = {"DAYBOOK_REDIS_URL": "redis://h", "DAYBOOK_REDIS_URL_FILE": "/f", "DAYBOOK_SMTP_URL_FILE": "/g"}
    assert set(environment.without_files(given)) == {"DAYBOOK_REDIS_URL", "DAYBOOK_SMTP_URL_FILE"}
