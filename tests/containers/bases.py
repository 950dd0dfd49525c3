"""The images that ours and the deployment stand on: pulled, or, where no registry is reached, made out of Debian.

A stand-in bears the name of what it stands in for, so the files under test are read as they are. It has what those
files ask of it, from Debian's packages: close to the real thing, and not it. It is kept for the next time.
"""

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

import yaml

from tests.containers.engine import STORE, EngineError

ROOT = Path(__file__).parents[2]
STANDINS = Path(__file__).parent / "standins"
OURS = re.compile(r"(^|/)daybook:|DAYBOOK_IMAGE")
SUITE = "trixie"
DEBIAN = f"localhost/daybook-standin-debian:{SUITE}"
MADE_FROM = "standin"  # the label of a stand-in
TRUSTED = Path("/etc/ssl/certs/ca-certificates.crt")
PULL_S, BUILD_S, DEBOOTSTRAP_S = 900, 900, 1_200
NO_DEBIAN = """\
No image registry is reached ({why}),
and base images can only be made here by root with debootstrap (apt-get install debootstrap)."""


class NoBasesError(Exception):
    """Images can neither be pulled nor made."""


def wanted():
    """Names of the images of others that the Dockerfile and compose.yaml ask for: image → services that run it."""
    dockerfile = (ROOT / "deploy/Dockerfile").read_text()
    images = {re.search(r"^ARG PYTHON_IMAGE=(\S+)$", dockerfile, re.MULTILINE)[1]: []}
    for name, service in yaml.safe_load((ROOT / "deploy/compose.yaml").read_text())["services"].items():
        if not OURS.search(service["image"]):
            images.setdefault(service["image"], []).append(name)
    return images


def standin_of(image):
    """The folder that tells how to make a stand-in for `image`, or None if Debian has nothing like it."""
    folder = STANDINS / image.rpartition("/")[2].partition(":")[0]
    return folder if folder.is_dir() else None


def provide(engine, say):
    """Have all images that are wanted; return the services for which there is none."""
    left_out = []
    for image, services in wanted().items():
        if engine.has_image(image) and _is_fresh(engine, image):
            say(f"{image} is here")
            continue
        why = _pulled(engine, image)
        if why is None:
            say(f"{image} pulled")
        elif (folder := standin_of(image)) is None:
            say(f"{image} can't be had here, and Debian has nothing like it: left out: {', '.join(services)}")
            left_out += services
        else:
            _make(engine, image, folder, say, why)
    return left_out


def _is_fresh(engine, image):
    label = _label(engine, image)
    return label is None or label == _fingerprint(standin_of(image))


def _label(engine, image):
    (told,) = engine.inspect(image)
    return (told["Config"].get("Labels") or {}).get(MADE_FROM)


def _pulled(engine, image):
    """None, or why it can't be pulled."""
    try:
        engine.run("pull", "--quiet", image, timeout_s=PULL_S)
    except EngineError as error:
        return str(error).splitlines()[-1][:200]
    return None


def _make(engine, image, folder, say, why):
    if not engine.has_image(DEBIAN):
        say(f"no image registry is reached ({why})")
        _make_debian(engine, say, why)
    say(f"making a stand-in for {image} of Debian's packages")
    options = ["--build-arg", f"BASE={DEBIAN}", "--label", f"{MADE_FROM}={_fingerprint(folder)}"]
    engine.build(folder, image, *options, timeout_s=BUILD_S)


def _fingerprint(folder):
    content = b"".join(path.read_bytes() for path in sorted(folder.iterdir()))
    return hashlib.sha256(content).hexdigest()[:16]


def _make_debian(engine, say, why):
    """A small Debian that reaches what this machine reaches: its mirror, and those whom it trusts."""
    if os.geteuid() or not shutil.which("debootstrap"):
        raise NoBasesError(NO_DEBIAN.format(why=why))
    say(f"making a small Debian ({SUITE}) with debootstrap")
    root = STORE / "debian"
    shutil.rmtree(root, ignore_errors=True)
    try:
        bootstrap = [
            "debootstrap",
            "--variant=minbase",
            "--include=ca-certificates",
            SUITE,
            str(root),
            *_mirror(),
        ]
        made = subprocess.run(bootstrap, capture_output=True, text=True, check=False, timeout=DEBOOTSTRAP_S)
        if made.returncode:
            raise NoBasesError(
                f"debootstrap ended with {made.returncode}:\n{made.stdout[-2_000:]}{made.stderr}"
            )
        for leftover in (*root.glob("var/cache/apt/archives/*.deb"), *root.glob("var/lib/apt/lists/*_*")):
            leftover.unlink()
        (root / "etc/apt/apt.conf.d/90quiet").write_text('DPkg::Use-Pty "0";\n')
        if TRUSTED.exists():
            shutil.copyfile(TRUSTED, root / TRUSTED.relative_to("/"))
            (root / "etc/pip.conf").write_text(f"[global]\ncert = {TRUSTED}\n")
        with subprocess.Popen(["tar", "-C", str(root), "-c", "."], stdout=subprocess.PIPE) as packing:
            environment = ["--change", "ENV DEBIAN_FRONTEND=noninteractive"]
            engine.run("import", *environment, "-", DEBIAN, stdin=packing.stdout, timeout_s=BUILD_S)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _mirror():
    """Whence this machine has its own Debian, if it says so; else debootstrap knows one."""
    ask = [
        "apt-get",
        "indextargets",
        "--format",
        "$(SITE)|$(REPO_URI)",
        "Created-By: Packages",
        "Origin: Debian",
    ]
    try:
        told = subprocess.run(ask, capture_output=True, text=True, check=False, timeout=60).stdout.split()
    except OSError:
        return []
    return [uri for line in told if (uri := line.partition("|")[2]).rstrip("/").endswith("/debian")][:1]
