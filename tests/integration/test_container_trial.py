"""The parts of `make compose-test` that can be tried without an engine; the rest is what it tries."""

import pytest
from click.testing import CliRunner

from tests.containers import bases, engine
from tests.containers.run import main

PLAIN = {"nofile": 1_048_576, "has_crun": True, "has_runc": True, "has_systemd": True}


def test_without_an_engine_it_fails_and_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("tests.containers.run.STORE", tmp_path)
    seen = CliRunner().invoke(main, [])
    assert seen.exit_code == 2
    assert "There is no container engine here" in seen.output
    assert "podman" in seen.output


def test_a_client_without_its_daemon_is_no_engine(monkeypatch, tmp_path):
    (tmp_path / "docker").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(engine.NoEngineError):
        engine.find(print)


@pytest.mark.parametrize(
    ("changes", "lines"),
    [
        ({}, ""),
        ({"nofile": 20_000}, '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]\n'),
        ({"has_crun": False}, '[engine]\nruntime = "runc"\n'),
        ({"has_crun": False, "has_runc": False}, ""),
        ({"has_systemd": False}, '[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n'),
    ],
)
def test_podman_is_told_only_what_it_can_not_know_of_this_machine(changes, lines):
    assert engine.configuration(**PLAIN | changes) == lines


def test_every_image_but_grafana_can_be_stood_in_for():
    wanted = bases.wanted()
    assert {"redis", "postgres", "nginx", "prometheus"} <= {
        each for users in wanted.values() for each in users
    }
    assert [users for image, users in wanted.items() if bases.standin_of(image) is None] == [["grafana"]]
