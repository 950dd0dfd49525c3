"""What `kubectl apply -k` would be given: that a cluster takes it, and that it is right for what Daybook is."""

import copy
import ipaddress
import json
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
import yaml

import shared
from services.__main__ import main
from shared import lifecycle, settings
from shared.metrics import Metrics
from tests.debian import program

from .kustomize import render
from .pod_security import violations

FOLDER = Path(shared.__file__).parents[1] / "deploy" / "kubernetes"
WAYS = ("overlays/small", "overlays/cluster")
ROLES = ("api", "timer", "executor", "projector")
OLDEST = "1.30"  # the first with a pause before the stop that needs no program in the image
CRDS = {path.stem: json.loads(path.read_text()) for path in (Path(__file__).parent / "crds").glob("*.json")}
KEDA_PROMETHEUS = {"serverAddress", "query", "threshold"}  # what its trigger must be told, in texts
NAME = "app.kubernetes.io/name"
COMPONENT = "app.kubernetes.io/component"

each_way = pytest.mark.parametrize("way", WAYS)


@cache
def rendered(way):
    return render(FOLDER / way)


def of_kind(way, kind):
    return {each["metadata"]["name"]: each for each in rendered(way) if each["kind"] == kind}


def pods(way):
    """Name → template, of all that makes pods."""
    return {
        name: each["spec"]["template"]
        for kind in ("Deployment", "Job")
        for name, each in of_kind(way, kind).items()
    }


def services(way):
    """Role → (Deployment, its one container)."""
    found = {}
    for each in of_kind(way, "Deployment").values():
        (container,) = each["spec"]["template"]["spec"]["containers"]
        found[each["metadata"]["labels"][COMPONENT]] = (each, container)
    return found


# That a cluster takes it.


@each_way
def test_our_reading_of_the_files_is_that_of_kustomize(way):
    if not shutil.which("kubectl"):
        pytest.skip("needs kubectl on PATH, whose kustomize ours is compared with")
    said = subprocess.run(
        ["kubectl", "kustomize", str(FOLDER / way)], check=True, capture_output=True, text=True, timeout=60
    ).stdout
    theirs = {(each["kind"], each["metadata"]["name"]): each for each in yaml.safe_load_all(said)}
    assert theirs == {(each["kind"], each["metadata"]["name"]): each for each in rendered(way)}


@each_way
@pytest.mark.parametrize("version", [OLDEST, kubernetes_validate.latest_version()])
def test_the_schemas_of_kubernetes_take_each_object(way, version):
    ours = [each for each in rendered(way) if each["kind"] not in CRDS]
    for each in ours:
        kubernetes_validate.validate(each, version, strict=True)
    assert len(ours) >= 18


@each_way
def test_the_schemas_of_the_operators_take_each_of_theirs(way):
    theirs = [each for each in rendered(way) if each["kind"] in CRDS]
    for each in theirs:
        jsonschema.Draft202012Validator(CRDS[each["kind"]]).validate(each)
    expected = {"ScaledObject", "ServiceMonitor", "PodMonitor"} if way == "overlays/cluster" else set()
    assert {each["kind"] for each in theirs} == expected


@each_way
def test_the_namespace_asks_for_restricted_pods_and_all_of_ours_are(way):
    (namespace,) = of_kind(way, "Namespace").values()
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert [wrong for pod in pods(way).values() for wrong in violations(pod["spec"])] == []


@each_way
@pytest.mark.parametrize(
    ("where", "key", "value", "wrong"),
    [
        ("pod", "hostNetwork", True, "hostNetwork is on"),
        (
            "pod",
            "volumes",
            [{"name": "x", "hostPath": {"path": "/"}}],
            "volume x is none of the allowed kinds",
        ),
        ("pod", "securityContext", {"runAsNonRoot": True}, "daybook has no seccomp profile"),
        ("container", "privileged", True, "daybook is privileged"),
        ("container", "allowPrivilegeEscalation", None, "daybook may gain privileges"),
        ("container", "runAsNonRoot", False, "daybook may run as root"),
        ("container", "runAsUser", 0, "daybook runs as root"),
        ("container", "capabilities", {"drop": ["ALL"], "add": ["SYS_ADMIN"]}, "daybook adds capabilities"),
        ("container", "capabilities", {}, "daybook keeps capabilities"),
    ],
)
def test_a_pod_that_may_more_would_be_seen(way, where, key, value, wrong):
    pod = copy.deepcopy(pods(way)["daybook-api"]["spec"])
    (pod if where == "pod" else pod["containers"][0]["securityContext"])[key] = value
    assert violations(pod) == [wrong]


def test_an_overlay_of_ones_own_is_rendered_as_the_page_says(tmp_path):
    (told,) = re.findall(r"```yaml\n(.*?)```", (FOLDER / "README.md").read_text(), re.DOTALL)
    (tmp_path / "overlays").symlink_to(FOLDER / "overlays")
    (tmp_path / "kustomization.yaml").write_text(told.replace("[../", "[overlays/"))
    ours = render(tmp_path)
    images = {
        container["image"]
        for each in ours
        if each["kind"] in {"Deployment", "Job"}
        for container in each["spec"]["template"]["spec"]["containers"]
    }
    assert images == {"REGISTRY/daybook:VERSION"}
    (config,) = (each["data"] for each in ours if each["kind"] == "ConfigMap")
    assert (config["DAYBOOK_CONCURRENCY"], config["DAYBOOK_PARTITIONS"]) == ("50", "64")


def test_the_rules_of_alarms_are_a_prometheus_rule_as_they_stand():
    said = subprocess.run(
        ["sh", str(FOLDER / "prometheus-rule.sh")], check=True, capture_output=True, text=True, timeout=30
    ).stdout
    made = yaml.safe_load(said)
    jsonschema.Draft202012Validator(CRDS["PrometheusRule"]).validate(made)
    rules = FOLDER.parent / "prometheus" / "rules" / "daybook.yml"
    assert made["spec"] == yaml.safe_load(rules.read_text())
    assert made["spec"]["groups"]


@each_way
def test_no_pod_is_handed_what_it_has_no_use_for(way):
    for name, pod in pods(way).items():
        assert pod["spec"]["serviceAccountName"] == "daybook", name
        assert pod["spec"]["automountServiceAccountToken"] is False, name
        assert pod["spec"]["enableServiceLinks"] is False, name  # they would be variables, DAYBOOK_…_PORT


# That it is right for what Daybook is.


@each_way
def test_there_are_the_four_services_and_a_migration_in_the_words_of_the_command_line(way):
    words = {name: pod["spec"]["containers"][0]["args"] for name, pod in pods(way).items()}
    assert words == {f"daybook-{role}": [role] for role in (*ROLES, "migrate")}
    assert {word for (word,) in words.values()} <= main.commands.keys()


@each_way
def test_no_file_system_is_written_to_but_what_is_mounted_for_it(way):
    for name, pod in pods(way).items():
        (container,) = pod["spec"]["containers"]
        assert container["securityContext"]["readOnlyRootFilesystem"], name
        mounts = {each["mountPath"] for each in container.get("volumeMounts", [])}
        assert name == "daybook-migrate" or "/tmp" in mounts, name  # noqa: S108 - in the container


@each_way
def test_each_service_takes_the_settings_it_is_given(way, monkeypatch):
    for role, (_, container) in services(way).items():
        told = settings_told(way, container, monkeypatch)
        assert (told.env, told.auth, told.metrics_open) == ("production", "on", "on")
        assert told.partitions == (64 if way == "overlays/cluster" else 4)
        assert (told.secret_key is not None) is (role == "api"), f"{role} and the key that signs"


def settings_told(way, container, monkeypatch):
    """What a container's process would make of its environment."""
    environment = {}
    for source in container["envFrom"]:
        environment |= of_kind(way, "ConfigMap")[source["configMapRef"]["name"]]["data"]
    for each in container["env"]:
        assert each["valueFrom"]["secretKeyRef"]["key"] == each["name"]  # as the README's file has them
        environment[each["name"]] = _example(each["name"])
    with monkeypatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        return settings.load()


def _example(name):
    match name:
        case "DAYBOOK_REDIS_URL":
            return "rediss://:secret@redis.example:6379/0"
        case "DAYBOOK_SECRET_KEY":
            return "s" * settings.SECRET_MIN
        case _:
            return "postgresql://daybook:secret@postgres.example/daybook"


@each_way
def test_no_secret_stands_in_the_files(way):
    assert not of_kind(way, "Secret")
    literals = {
        each["name"]
        for pod in pods(way).values()
        for container in pod["spec"]["containers"]
        for each in container.get("env", [])
        if "value" in each
    }
    assert literals == set()
    for config in of_kind(way, "ConfigMap").values():
        assert not [name for name in config["data"] if name.endswith(("_URL", "_KEY", "PASSWORD"))]


@each_way
def test_probes_and_scrapes_go_to_the_port_that_the_service_listens_on(way, monkeypatch):
    for role, (_, container) in services(way).items():
        told = settings_told(way, container, monkeypatch)
        ports = {each["name"]: each["containerPort"] for each in container["ports"]}
        assert ports == {"http": told.port if role == "api" else told.ops_port}
        assert told.host == "0.0.0.0"  # noqa: S104 - a pod is asked from outside
        asked = {
            probe: (container[probe]["httpGet"]["path"], container[probe]["httpGet"]["port"])
            for probe in ("startupProbe", "readinessProbe", "livenessProbe")
        }
        assert asked == {
            "startupProbe": ("/livez", "http"),
            "readinessProbe": ("/readyz", "http"),
            "livenessProbe": ("/livez", "http"),
        }


@each_way
def test_a_pod_is_not_killed_before_it_has_drained_handed_back_and_closed(way, monkeypatch):
    for role, (deployment, container) in services(way).items():
        pause_s = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        drain_s = settings_told(way, container, monkeypatch).drain_seconds
        needs_s = pause_s + drain_s + lifecycle.HAND_BACK_S + lifecycle.CLOSE_S + lifecycle.OPS_GRACE_S
        assert deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > needs_s, role
        assert (pause_s > 0) is (role == "api")  # only the API gets requests that must first go elsewhere


@each_way
def test_each_service_keeps_working_while_it_is_rolled_or_its_node_is_drained(way):
    budgets = of_kind(way, "PodDisruptionBudget")
    for role, (deployment, container) in services(way).items():
        assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        assert deployment["spec"]["selector"]["matchLabels"] == labels == {NAME: "daybook", COMPONENT: role}
        budget = budgets[f"daybook-{role}"]["spec"]
        assert (budget["selector"]["matchLabels"], budget["maxUnavailable"]) == (labels, 1)
        assert {"cpu", "memory"} == container["resources"]["requests"].keys()
        assert container["resources"]["limits"].keys() == {"memory"}  # a limit of CPU would make timers late
        for spread in deployment["spec"]["template"]["spec"]["topologySpreadConstraints"]:
            assert COMPONENT in spread["matchLabelKeys"]
            assert spread["labelSelector"]["matchLabels"].items() <= labels.items()


@each_way
def test_who_is_scaled_by_something_else_has_no_number_of_its_own(way):
    scaled = {
        each["spec"]["scaleTargetRef"]["name"]
        for kind in ("HorizontalPodAutoscaler", "ScaledObject")
        for each in of_kind(way, kind).values()
    }
    counted = {name for name, each in of_kind(way, "Deployment").items() if "replicas" in each["spec"]}
    assert scaled == ({"daybook-api", "daybook-executor"} if way == "overlays/cluster" else set())
    assert counted == of_kind(way, "Deployment").keys() - scaled


@each_way
def test_executors_are_scaled_by_metrics_that_there_are(way):
    for each in of_kind(way, "ScaledObject").values():
        (trigger,) = each["spec"]["triggers"]
        assert trigger["type"] == "prometheus"
        assert trigger["metadata"].keys() >= KEDA_PROMETHEUS
        query = trigger["metadata"]["query"]
        there = {family.name: family for family in Metrics().registry.collect()}
        assert {name for name in there if f"{name}{{" in query} == {"daybook_queue_depth", "daybook_slots"}
        assert each["spec"]["minReplicaCount"] >= 1  # or nobody is left to say that something waits
        concurrency = settings.Settings.model_fields["concurrency"].default
        assert 0 < int(trigger["metadata"]["threshold"]) < concurrency


def test_executors_are_counted_by_slots_that_are_wanted_whoever_tells(tmp_path):
    """A queue's depth is told by each executor and counts once; busy slots are each one's own."""
    (scaled,) = of_kind("overlays/cluster", "ScaledObject").values()
    (trigger,) = scaled["spec"]["triggers"]
    told = {
        'daybook_queue_depth{job="daybook",service="executor",instance="a",queue="default"}': 100,
        'daybook_queue_depth{job="daybook",service="executor",instance="b",queue="default"}': 90,
        'daybook_queue_depth{job="daybook",service="executor",instance="b",queue="slow"}': 5,
        'daybook_queue_depth{job="daybook",service="timer",instance="c",queue="default"}': 7,
        'daybook_slots{job="daybook",service="executor",instance="a",state="busy"}': 30,
        'daybook_slots{job="daybook",service="executor",instance="b",state="busy"}': 40,
        'daybook_slots{job="daybook",service="executor",instance="b",state="free"}': 60,
    }
    case = {
        "input_series": [{"series": name, "values": f"{value}x2"} for name, value in told.items()],
        "promql_expr_test": [
            {
                "expr": trigger["metadata"]["query"],
                "eval_time": "1m",
                "exp_samples": [{"labels": "{}", "value": 100 + 5 + 30 + 40}],
            }
        ],
    }
    (tmp_path / "case.yml").write_text(yaml.safe_dump({"tests": [case]}))
    done = subprocess.run(
        [program("promtool", "prometheus"), "test", "rules", "case.yml"],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@each_way
def test_what_is_scraped_is_told_apart_as_the_rules_expect(way):
    seen = {}
    for kind, endpoints in (("ServiceMonitor", "endpoints"), ("PodMonitor", "podMetricsEndpoints")):
        for each in of_kind(way, kind).values():
            assert each["spec"]["jobLabel"] == NAME  # whose value is `daybook`
            (endpoint,) = each["spec"][endpoints]
            assert (endpoint["port"], endpoint["path"]) == ("http", "/metrics")
            (relabel,) = endpoint["relabelings"]
            assert relabel["targetLabel"] == "service"
            selector = each["spec"]["selector"]
            chosen = [role for role in ROLES if _selects(selector, {NAME: "daybook", COMPONENT: role})]
            seen |= {
                role: relabel.get("replacement") or relabel["sourceLabels"][0].rpartition("_")[2]
                for role in chosen
            }
    expected = {"api": "api"} | dict.fromkeys(("timer", "executor", "projector"), "component")
    assert seen == (expected if way == "overlays/cluster" else {})


# Who may speak to whom.

INGRESS, MONITORING = "ingress-nginx", "monitoring"


@each_way
def test_nobody_gets_in_but_clients_and_prometheus(way):
    def enters(role, namespace, **labels):
        rules = [rule for policy in policies(way, role, "Ingress") for rule in policy.get("ingress", [])]
        return any(_from(rule, namespace, labels) and rule["ports"] == [{"port": "http"}] for rule in rules)

    assert {role for role in ROLES if enters(role, MONITORING)} == set(ROLES)
    assert {role for role in ROLES if enters(role, INGRESS)} == {"api"}
    assert {role for role in ROLES if enters(role, "default", **{"daybook-client": "true"})} == {"api"}
    assert not [role for role in ROLES if enters(role, "default")]


@each_way
@pytest.mark.parametrize(
    ("address", "port", "who"),
    [
        ("203.0.113.7", 5432, {*ROLES, "migrate"}),  # Postgres and Redis, wherever
        ("10.1.2.3", 6379, {*ROLES, "migrate"}),
        ("203.0.113.7", 443, {"executor", "api"}),
        ("2001:db8::1", 443, {"executor", "api"}),
        ("203.0.113.7", 22, set()),
        ("10.1.2.3", 443, set()),
        ("169.254.169.254", 80, set()),  # who answers there gives out the node's credentials
        ("fd00:ec2::254", 80, set()),
    ],
)
def test_nobody_gets_out_but_to_the_stores_and_handlers_to_public_addresses(way, address, port, who):
    def leaves(role):
        rules = [rule for policy in policies(way, role, "Egress") for rule in policy.get("egress", [])]
        return any(_to(rule, address) and _through(rule, port) for rule in rules)

    assert {role for role in (*ROLES, "migrate") if leaves(role)} == who


def policies(way, role, direction):
    """The policies that hold for pods of that role; the one that denies is among them, or nothing is denied."""
    labels = {NAME: "daybook", COMPONENT: role}
    held = [
        each["spec"]
        for each in of_kind(way, "NetworkPolicy").values()
        if direction in each["spec"]["policyTypes"] and _selects(each["spec"]["podSelector"], labels)
    ]
    assert {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]} in held
    return held


def _selects(selector, labels):
    wanted = selector.get("matchLabels", {}).items() <= labels.items()
    return wanted and all(
        (labels.get(each["key"]) in each["values"]) is (each["operator"] == "In")
        for each in selector.get("matchExpressions", [])
    )


def _from(rule, namespace, labels):
    return any(
        _selects(peer.get("namespaceSelector", {}), {"kubernetes.io/metadata.name": namespace})
        and _selects(peer.get("podSelector", {}), labels)
        for peer in rule["from"]
    )


def _to(rule, address):
    at = ipaddress.ip_address(address)
    blocks = [peer["ipBlock"] for peer in rule.get("to", []) if "ipBlock" in peer]
    return "to" not in rule or any(
        at in ipaddress.ip_network(block["cidr"])
        and not any(at in ipaddress.ip_network(each) for each in block.get("except", []))
        for block in blocks
    )


def _through(rule, port):
    return any(each["port"] <= port <= each.get("endPort", each["port"]) for each in rule["ports"])
