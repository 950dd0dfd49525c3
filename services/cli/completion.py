"""`daybook completion`: the script that lets a shell complete daybook's commands and options."""

from __future__ import annotations

import click


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print what lets SHELL complete; for instance: source <(daybook completion bash)."""
    from click.shell_completion import get_completion_class  # noqa: PLC0415

    script = get_completion_class(shell)
    assert script is not None  # noqa: S101 - click knows all three
    root = context.find_root().command
    click.echo(script(root, {}, "daybook", "_DAYBOOK_COMPLETE").source())
