"""`differ completion`: the script that teaches a shell to complete differ's commands, options and source names."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from differ.cli.command import command
from differ.cli.session import Session

VARIABLE = "_DIFFER_COMPLETE"


@command(example='eval "$(differ completion bash)"')
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script of a shell; load it in the shell's start-up file."""
    found = get_completion_class(shell)
    assert found is not None  # noqa: S101
    session = ctx.ensure_object(Session)
    # Not `found(...).source()`: for bash that starts one to ask for its version.
    complete = found(ctx.find_root().command, {}, "differ", VARIABLE)
    session.terminal.line(complete.source_template % complete.source_vars())
