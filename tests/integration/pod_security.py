"""The Pod Security Standard `restricted`, as far as the API server would refuse a pod for it.

After the table of the Kubernetes documentation, "Pod Security Standards": each row is one thing that is wrong.
"""

VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
PROFILES = {"RuntimeDefault", "Localhost"}


def violations(pod):
    """What a pod with this `spec` would be refused for; empty if it may run."""
    whole = pod.get("securityContext", {})
    return [
        *(f"{flag} is on" for flag in ("hostNetwork", "hostPID", "hostIPC") if pod.get(flag)),
        *(
            f"volume {each['name']} is none of the allowed kinds"
            for each in pod.get("volumes", [])
            if not set(each) - {"name"} <= VOLUMES
        ),
        *(wrong for each in _containers(pod) for wrong in _of_container(each, whole)),
    ]


def _containers(pod):
    kinds = ("initContainers", "containers", "ephemeralContainers")
    return [each for kind in kinds for each in pod.get(kind, [])]


def _of_container(container, whole):
    own = container.get("securityContext", {})
    profile = own.get("seccompProfile", whole.get("seccompProfile", {})).get("type")
    capabilities = own.get("capabilities", {})
    rules = {
        "is privileged": not own.get("privileged"),
        "may gain privileges": own.get("allowPrivilegeEscalation") is False,
        "may run as root": own.get("runAsNonRoot", whole.get("runAsNonRoot")) is True,
        "runs as root": own.get("runAsUser", whole.get("runAsUser")) != 0,
        "has no seccomp profile": profile in PROFILES,
        "keeps capabilities": "ALL" in capabilities.get("drop", []),
        "adds capabilities": set(capabilities.get("add", [])) <= {"NET_BIND_SERVICE"},
        "takes a port of its node": not any(port.get("hostPort") for port in container.get("ports", [])),
        "has a /proc of its own making": own.get("procMount", "Default") == "Default",
    }
    return [f"{container['name']} {what}" for what, holds in rules.items() if not holds]
