"""Our kustomizations read without kustomize: as much of it as they use, and an error for whatever else they may say.

`test_kubernetes.py` holds it against the real one where there is `kubectl`, so that elsewhere the same is tested.
"""

import hashlib
import json
import re

import yaml

KNOWN = {"apiVersion", "kind", "namespace", "resources", "configMapGenerator", "patches", "images"}
CLUSTER_WIDE = {"Namespace"}
HASH_LETTERS = str.maketrans("013ae", "ghkmt")  # so that no hash spells a word


def render(folder):
    """The objects of the kustomization in `folder`, with the hashes in generated names."""
    objects, generated = _accumulated(folder)
    for name in generated:
        (config,) = (each for each in objects if _named(each) == ("ConfigMap", name))
        config["metadata"]["name"] = f"{name}-{_hash(config)}"
        for each in objects:
            _refer(each, name, config["metadata"]["name"])
    return objects


def _accumulated(folder):
    """The objects with plain names, and the names that were generated."""
    told = yaml.safe_load((folder / "kustomization.yaml").read_text())
    assert told.keys() <= KNOWN, f"{folder}: this reading doesn't know {told.keys() - KNOWN}"
    objects, generated = [], []
    for resource in told["resources"]:
        if (folder / resource).is_dir():
            below, names = _accumulated((folder / resource).resolve())
            objects, generated = objects + below, generated + names
        else:
            objects += map(_unshared, yaml.safe_load_all((folder / resource).read_text()))
    for config in told.get("configMapGenerator", []):
        generated += _generate(objects, **config)
    for each in objects:
        if "namespace" in told and each["kind"] not in CLUSTER_WIDE:
            each["metadata"]["namespace"] = told["namespace"]
    for patch in told.get("patches", []):
        _patch(objects, yaml.safe_load((folder / patch["path"]).read_text()), **patch["target"])
    for image in told.get("images", []):
        _tag(objects, **image)
    return objects, generated


def _unshared(document):
    """A copy in which nothing stands in two places: a patch of one alias must not change the others."""
    return json.loads(json.dumps(document))


def _named(each):
    return each["kind"], each["metadata"]["name"]


def _generate(objects, *, name, literals, namespace=None, behavior="create"):
    """Add a ConfigMap, or merge into one there is; the names that are new."""
    data = dict(each.split("=", maxsplit=1) for each in literals)
    there = [each for each in objects if _named(each) == ("ConfigMap", name)]
    if behavior == "merge":
        (found,) = there
        assert namespace == found["metadata"].get("namespace"), f"kustomize would look for {name} elsewhere"
        found["data"] |= data
        return []
    assert behavior == "create"
    assert not there
    objects.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
    return [name]


def _hash(config):
    told = {
        "kind": "ConfigMap",
        "name": "",
        "data": config["data"],
    }  # kustomize looks for the name in a wrong place
    text = json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert not set(text) & set("<>&"), "Go writes these in another way"
    return hashlib.sha256(text.encode()).hexdigest()[:10].translate(HASH_LETTERS)


def _refer(node, name, fresh):
    """Have references to the ConfigMap `name` follow it."""
    match node:
        case {"configMapRef": {"name": said} as reference} if said == name:
            reference["name"] = fresh
        case dict():
            for each in node.values():
                _refer(each, name, fresh)
        case list():
            for each in node:
                _refer(each, name, fresh)


def _patch(objects, operations, *, kind, name=".*"):
    """Apply a JSON patch (RFC 6902) to each object of that kind whose whole name is as the pattern `name`."""
    targets = [
        each for each in objects if each["kind"] == kind and re.fullmatch(name, each["metadata"]["name"])
    ]
    assert targets, f"a patch is for {kind} {name}, and there is none"
    for each in targets:
        for operation in operations:
            _operate(each, _unshared(operation))


def _operate(document, operation):
    *parents, last = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]]
    for part in parents:
        document = document[int(part) if isinstance(document, list) else part]
    match operation, document:
        case {"op": "add", "value": value}, list() if last == "-":
            document.append(value)
        case {"op": "add", "value": value}, dict():
            document[last] = value
        case {"op": "replace", "value": value}, dict() if last in document:
            document[last] = value
        case {"op": "remove"}, dict():
            del document[last]
        case _:
            raise AssertionError(f"this reading doesn't know {operation}, or its place isn't there")


def _tag(objects, *, name, newTag, newName=None):  # noqa: N803 - kustomize's words
    for each in objects:
        for container in each.get("spec", {}).get("template", {}).get("spec", {}).get("containers", []):
            if container["image"].partition(":")[0] == name:
                container["image"] = f"{newName or name}:{newTag}"
