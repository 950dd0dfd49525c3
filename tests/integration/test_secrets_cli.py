import json
import ssl
import stat
from urllib.parse import unquote, urlsplit

import pytest
from click.testing import CliRunner
from cryptography import x509

from services.__main__ import main
from services.cli.secrets import PASSWORDS


def make(directory, *options: str):
    return CliRunner().invoke(main, ["secrets", str(directory), *options])


def contents(directory) -> dict[str, str]:
    return {
        str(file.relative_to(directory)): file.read_text()
        for file in directory.rglob("*.*")
        if file.is_file()
    } | {name: (directory / name).read_text() for name in PASSWORDS}


def test_all_is_made_once_and_then_kept(tmp_path):
    first = make(tmp_path / "made")
    assert first.exit_code == 0
    before = contents(tmp_path / "made")
    assert make(tmp_path / "made").output == ""
    assert contents(tmp_path / "made") == before
    passwords = [before[name] for name in PASSWORDS]
    assert len(set(passwords)) == len(passwords)
    assert all(len(each) >= 40 for each in passwords)
    assert not any(each in first.output for each in passwords)


def test_two_deployments_have_nothing_in_common(tmp_path):
    for name in "ab":
        assert make(tmp_path / name).exit_code == 0
    one, other = contents(tmp_path / "a"), contents(tmp_path / "b")
    assert [name for name in one if one[name] == other[name]] == []


def test_ones_own_password_is_kept_and_all_that_is_made_of_it_follows(tmp_path):
    make(tmp_path)
    for name in ("redis/password", "postgres/daybook_password", "exporters/redis_password"):
        (tmp_path / name).unlink()
        (tmp_path / name).write_text("p:a/s @%w\n")
    assert "made daybook/redis_url" in make(tmp_path).output
    for url in ("redis_url", "database_url"):
        password = urlsplit((tmp_path / "daybook" / url).read_text().strip()).password
        assert unquote(password or "") == "p:a/s @%w"
    assert set(json.loads((tmp_path / "exporters/redis.json").read_text()).values()) == {"p:a/s @%w"}
    assert (tmp_path / "redis/password").read_text() == "p:a/s @%w\n"


def test_an_empty_file_is_no_password(tmp_path):
    (tmp_path / "redis").mkdir()
    (tmp_path / "redis/password").write_text("\n")
    said = make(tmp_path)
    assert (said.exit_code, "is empty" in said.output) == (1, True)


@pytest.mark.parametrize("half", ["tls.crt", "tls.key"])
def test_half_of_a_certificate_and_key_is_refused_and_kept(tmp_path, half):
    (tmp_path / "tls").mkdir()
    (tmp_path / "tls" / half).write_text("mine")
    assert "has only one of" in make(tmp_path).output
    assert [each.name for each in (tmp_path / "tls").iterdir()] == [half]
    other = ({"tls.crt", "tls.key"} - {half}).pop()
    (tmp_path / "tls" / other).write_text("mine, too")
    assert make(tmp_path).exit_code == 0
    assert (tmp_path / "tls" / half).read_text() == "mine"


def test_a_directory_of_secrets_is_for_its_owner_only(tmp_path):
    make(tmp_path / "made")
    assert stat.S_IMODE((tmp_path / "made").stat().st_mode) == 0o700


def test_the_certificate_and_its_key_belong_together(tmp_path):
    make(tmp_path, "--host", "jobs.example.com")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "tls/tls.crt", tmp_path / "tls/tls.key")
    (extension,) = [
        each.value
        for each in x509.load_pem_x509_certificate((tmp_path / "tls/tls.crt").read_bytes()).extensions
        if isinstance(each.value, x509.SubjectAlternativeName)
    ]
    assert extension.get_values_for_type(x509.DNSName) == ["localhost", "jobs.example.com"]
    assert [str(each) for each in extension.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]
