"""What holds for every service of deploy/compose.yaml; its parts are tried on real servers elsewhere."""

import itertools
import os
import re
from pathlib import Path

import pytest
import yaml

from services.__main__ import main
from services.cli.secrets import CERTIFICATE, KEY, PASSWORDS, _derived
from shared import settings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
PROMETHEUS = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())
SERVICES = COMPOSE["services"]
OURS = {"secrets", "migrate", "api", "timer", "executor", "projector"}
ONCE = {"secrets", "migrate"}
PUBLISHED = {"nginx", "prometheus", "grafana"}
MADE_SECRETS = {*PASSWORDS, *_derived(dict.fromkeys(PASSWORDS, "x")), CERTIFICATE, KEY}


def plain(text: str) -> str:
    """As compose reads it where no variable is set."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


def mounts(service: str) -> dict[str, tuple[str, str]]:
    """Where → (what, how) of each of its volumes."""
    found = {}
    for each in SERVICES[service].get("volumes", ()):
        what, where, *how = plain(each).split(":")
        found[where] = (what, how[0] if how else "rw")
    return found


def seconds(text: str) -> int:
    return int(text.removesuffix("s"))


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_confined_and_bounded(name):
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert "privileged" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "/tmp" in service["tmpfs"]  # noqa: S108 - a file system of its own
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}
    assert service["logging"]["options"]["max-size"]
    assert service["restart"] == ("on-failure:5" if name in ONCE else "unless-stopped")


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_may_be_scaled_but_stores_and_what_is_published(name):
    service = SERVICES[name]
    assert "container_name" not in service
    assert "hostname" not in service
    assert bool(service.get("ports")) == (name in PUBLISHED)
    if name in OURS - ONCE:
        assert re.fullmatch(rf"\$\{{{name.upper()}S:-[23]\}}", service["deploy"]["replicas"])
        assert service["deploy"]["mode"] == "replicated"


def test_only_nginx_is_open_to_other_machines():
    for name in PUBLISHED - {"nginx"}:
        assert all(port.startswith("127.0.0.1:") for port in SERVICES[name]["ports"])
    assert [plain(port) for port in SERVICES["nginx"]["ports"]] == ["80:8080", "443:8443"]


@pytest.mark.parametrize("name", sorted(set(SERVICES) - ONCE))
def test_every_service_that_stays_is_asked_whether_it_is_well(name):
    check = SERVICES[name]["healthcheck"]
    assert check["test"][0] in {"CMD", "CMD-SHELL"}
    assert seconds(check["timeout"]) <= seconds(check["interval"])
    assert check["retries"] >= 3
    assert "start_period" in check


def needed(name: str) -> set[str]:
    """All that must have begun, or ended, before it."""
    direct = set(SERVICES[name].get("depends_on", {}))
    return direct.union(*(needed(each) for each in direct)) if direct else set()


def test_it_starts_in_an_order_that_each_step_has_been_seen_to_end():
    for name, service in SERVICES.items():
        for other, how in service.get("depends_on", {}).items():
            wanted = "service_completed_successfully" if other in ONCE else "service_healthy"
            assert how["condition"] == wanted, f"{name} waits for {other}"
    for name in OURS - ONCE:
        assert needed(name) == {"secrets", "redis", "postgres", "migrate"}
    assert needed("nginx") >= {"api"}
    assert all("secrets" in needed(name) for name in set(SERVICES) - {"secrets", "prometheus"})


def test_whatever_is_mounted_is_there_and_volumes_are_declared():
    for name in SERVICES:
        for where, (what, how) in mounts(name).items():
            if what.startswith("."):
                assert (DEPLOY / what).exists(), f"{name} mounts {what}"
                assert how == "ro", f"{name}: {where}"
                assert not what.endswith(".sh") or os.access(DEPLOY / what, os.X_OK), what
            else:
                assert what in COMPOSE["volumes"], f"{name} mounts {what}"


def test_no_password_stands_in_any_file():
    for file in [each for each in DEPLOY.rglob("*") if each.is_file()]:
        text = file.read_text()
        found = re.search(r"\w+://[^\s/:@{$]*:(?!PASSWORD@)[^\s/@{$]+@", text)
        assert not found, f"{file} has an address with a password"
    for name, service in SERVICES.items():
        for variable in service.get("environment", {}):
            if re.search(r"PASS|SECRET|TOKEN|KEY|_URL", variable):
                assert variable.endswith("_FILE"), f"{name}: {variable}"


def test_whoever_reads_a_secret_finds_it_and_no_other():
    text = (DEPLOY / "compose.yaml").read_text()
    named = {f"{DEPLOY}": text} | {
        str(file): file.read_text() for file in DEPLOY.rglob("*") if file.suffix in {".conf", ".sh"}
    }
    read = {match for each in named.values() for match in re.findall(r"/secrets/(\w+/[\w.]+\w)", each)}
    assert {name for name in read if not name.endswith("/")} <= MADE_SECRETS
    for name in set(SERVICES) - {"secrets"}:
        walls = [where for where in mounts(name) if where.startswith("/secrets")]
        assert len(walls) <= 1
        assert all(mounts(name)[where][1] == "ro" for where in walls)
    assert {where.removeprefix("/secrets/") for where in mounts("secrets")} == {
        name.partition("/")[0] for name in MADE_SECRETS
    }


@pytest.mark.parametrize("name", sorted(OURS))
def test_our_services_are_commands_of_ours_over_one_image(name):
    service = SERVICES[name]
    assert plain(service["image"]) == "daybook:latest"
    assert (DEPLOY / service["build"]["context"]).resolve() == ROOT
    command = main.commands[service["command"][0]]
    arguments = [plain(each) for each in service["command"][1:]]
    command.make_context(name, arguments)  # raises where an option isn't its own


def test_our_settings_are_settings_that_production_takes(monkeypatch, tmp_path):
    for name in list(os.environ):
        if name.upper().startswith("DAYBOOK_") or name.lower() in settings.ALIASES:
            monkeypatch.delenv(name)
    made = _derived(dict.fromkeys(PASSWORDS, "x" * 40)) | {"daybook/secret_key": "x" * 40}
    for name, value in SERVICES["api"]["environment"].items():
        if name.endswith("_FILE"):
            file = tmp_path / Path(value).name
            file.write_text(made[value.removeprefix("/secrets/")])
            monkeypatch.setenv(name, str(file))
        else:
            monkeypatch.setenv(name, plain(value))
    told = settings.load()
    assert (told.env, told.auth, told.host, told.ops_port) == ("production", "on", "0.0.0.0", 9100)  # noqa: S104
    for name in OURS - ONCE:
        own = {"TMPDIR": "/scratch"} if name == "executor" else {}
        assert SERVICES[name]["environment"] == SERVICES["api"]["environment"] | own
        assert seconds(SERVICES[name]["stop_grace_period"]) > told.drain_seconds + 5
    assert str(told.files_roots[0]) in mounts("executor")


def test_executors_write_to_disks_that_the_image_gives_to_their_user():
    (made,) = re.findall(
        r"install -d -o daybook -g daybook -m 0750 (.+?)\s*\n", (DEPLOY / "Dockerfile").read_text()
    )
    written = {where for where, (_, how) in mounts("executor").items() if how == "rw"}
    assert written == set(made.split()) == {"/data", "/scratch"}


def test_two_services_meet_in_one_network_or_each_replica_would_be_found_twice():
    pairs = [("nginx", "api")] + [("prometheus", name) for name in OURS - ONCE]
    for one, other in pairs:
        assert len(set(SERVICES[one]["networks"]) & set(SERVICES[other]["networks"])) == 1, (one, other)
    for name in ("redis", "postgres"):
        assert all(COMPOSE["networks"][each]["internal"] for each in SERVICES[name]["networks"])
    for one, other in itertools.product(["nginx", "grafana", "prometheus"], ["redis", "postgres"]):
        assert not set(SERVICES[one]["networks"]) & set(SERVICES[other]["networks"])


def test_prometheus_asks_every_replica_and_every_exporter():
    jobs = {each["job_name"]: each for each in PROMETHEUS["scrape_configs"]}
    assert set(jobs) == {"daybook", "redis", "postgres", "prometheus"}
    ports = {name: each["port"] for each in jobs["daybook"]["dns_sd_configs"] for name in each["names"]}
    assert ports == {"api": 8080, "timer": 9100, "executor": 9100, "projector": 9100}
    (label,) = jobs["daybook"]["relabel_configs"]
    assert label == {"source_labels": ["__meta_dns_name"], "target_label": "service"}
    for name in ("redis", "postgres"):
        (target,) = jobs[name]["static_configs"][0]["targets"]
        assert target.partition(":")[0] in SERVICES
