"""`make compose-test`: build the image, bring deploy/compose.yaml up, use it, break it, and take it down.

    make compose-test                        everything
    make compose-test ARGS=--keep            leave it up afterwards, and say where it is

Takes Docker with its compose, else podman with podman-compose (which it gets for itself). Where no image registry is
reached, base images are made out of Debian's packages under the names that the files use: as root, with debootstrap.
Exit status 1: something does not hold, and what; 2: there is no engine, or no image to build on.
"""

import asyncio
import sys
import time
from pathlib import Path

import click
import yaml

sys.path.insert(0, str(Path(__file__).parents[2]))  # run as a script: `tests` isn't installed

from tests.containers import bases, image, trial
from tests.containers.deployment import FILE, Deployment
from tests.containers.engine import STORE, EngineError, NoEngineError, find

CANNOT = 2


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--keep", is_flag=True, help="Leave it up afterwards.")
def main(keep):
    """Try the whole deployment in containers."""
    began = time.monotonic()

    def say(line):
        click.echo(f"{time.monotonic() - began:6.1f} s  {line}")

    STORE.mkdir(exist_ok=True)
    try:
        engine = find(say)
        say(f"engine: {engine.run('--version').strip()}")
        left_out = bases.provide(engine, say)
        built = image.build(engine, say)
    except (NoEngineError, bases.NoBasesError, EngineError) as error:
        click.echo(error, err=True)
        sys.exit(CANNOT)
    except AssertionError as error:
        sys.exit(f"This does not hold: {error}")
    services = [name for name in yaml.safe_load(FILE.read_text())["services"] if name not in left_out]
    sys.exit(tried(Deployment(engine, built, services), say, keep=keep))


def tried(deployment, say, *, keep):
    """Up, the trial, and down whatever came of it; return the exit status."""
    say(f"up: {deployment.project}, {', '.join(deployment.services)}")
    status = 1
    try:
        deployment.up()
        asyncio.run(trial.tried(deployment, say))
        status = 0
    except (AssertionError, EngineError) as error:
        click.echo(f"This does not hold: {error}", err=True)
    finally:
        if keep:
            say(f"kept: https://localhost:{deployment.https_port}, project {deployment.project}")
        else:
            left = deployment.down()
            say(f"down: {f'left behind: {left}' if left else 'no container, volume or network is left'}")
            status = status or int(bool(left))
    say("1 passed, 0 failed" if status == 0 else "0 passed, 1 failed")
    return status


if __name__ == "__main__":
    main()
