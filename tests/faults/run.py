"""`make faults`: break everything that Daybook stands on, for a while, and look whether it has kept its promises.

    make faults                                  a minute, a seed of its own
    make faults ARGS="--minutes 15 --seed 1"     the long form: ten faults of each kind and more
    make faults ARGS="--only cut --only reset"   some kinds

Exit status 1 says that something was lost, done twice, or otherwise not as promised; the first examples are shown,
and the directory is kept. The same seed draws the same faults; the rest is what the machine makes of it.
"""

import asyncio
import shutil
import sys
import tempfile
import time
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).parents[2]))  # run as a script: `tests` isn't installed

from tests.faults import kinds, plan, story, verdict

SHORT_S = 20.0  # with starting, calming and judging: a minute


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--minutes", type=click.FloatRange(0.1, 600), help="Of faults; else the short form's half.")
@click.option("--seed", type=int, help="Draws the faults; else the time of day.")
@click.option("--only", multiple=True, type=click.Choice(plan.KINDS), help="Only this kind; may be repeated.")
@click.option("--without", multiple=True, type=click.Choice(plan.KINDS), help="Not this kind.")
@click.option("--jobs", type=click.IntRange(10, 5_000), default=story.JOBS, show_default=True)
@click.option("--keep", is_flag=True, help="Keep the directory whatever comes out.")
def main(minutes, seed, only, without, jobs, keep):
    """Break everything, and see that nothing is lost."""
    seconds = SHORT_S if minutes is None else minutes * 60
    chosen = [kind for kind in only or plan.KINDS if kind not in without]
    directory = Path(tempfile.mkdtemp(prefix="daybook-faults-"))
    seed = time.time_ns() % 1_000_000 if seed is None else seed
    verdict_ = asyncio.run(shown(directory, seed=seed, seconds=seconds, chosen=chosen, jobs=jobs))
    if verdict_.is_good and not keep:
        shutil.rmtree(directory, ignore_errors=True)
    else:
        click.echo(f"What the services said: {directory}")
    sys.exit(0 if verdict_.is_good else 1)


async def shown(directory, *, seed, seconds, chosen=plan.KINDS, jobs=story.JOBS):
    """Play, judge and print; return the verdict."""
    away = {kind: why for kind, why in kinds.missing().items() if kind in chosen}
    for kind, why in away.items():
        click.echo(f"skipped: {kind}: {why}")
    drawn = plan.draw(seed, seconds, [kind for kind in chosen if kind not in away])
    click.echo(f"seed {seed}")
    played = await story.played(directory, drawn, jobs=jobs, say=click.echo)
    judged = verdict.of(played)
    click.echo(verdict.told(played, judged))
    return judged


if __name__ == "__main__":
    main()
