"""Assembles the ``mailer`` command. A command's module is imported when the command is used, so that help is quick."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from importlib import import_module

import click

from mailer import __version__
from mailer.cli.common import config_option
from mailer.errors import CompileError, ConfigError, ContentError, MailerError, nearest

COMMANDS = {
    "init": "Write mailer.toml, a sample issue and the templates to edit.",
    "demo": "Do the whole main job on sample data, before your eyes.",
    "up": "Run everything a small publisher needs: Redis, workers, web.",
    "worker": "Run workers only.",
    "web": "Run the web process only.",
    "subscribers": "Import, export, show and remove people.",
    "check": "Say what is wrong with an issue.",
    "compile": "Write an issue as message.html, message.txt and message.eml.",
    "test-send": "Send an issue to the editors.",
    "send": "Send an issue to every subscriber.",
    "status": "Show how sends are doing.",
    "recipients": "List the recipients of a send, each with state and reply.",
    "pause": "Stop a send for now.",
    "resume": "Let a paused send go on.",
    "cancel": "Stop a send for good.",
    "resolve": "Settle the recipients that are in doubt.",
    "bounces": "Read bounces that came by mail, and act on them.",
    "events": "Act once more on what webhooks told.",
    "suppressions": "List and change the addresses that mail may not go to.",
    "migrate": "Bring the database to this version.",
}
"""Every command with its line of help; command ``test-send`` is ``test_send.command``, but for those in ``_HOMES``."""

_HOMES = {name: ("control", name) for name in ("pause", "resume", "cancel", "resolve")}

TO_COME = ("preview", "referrals")
"""Commands that are designed and not made yet."""


class LazyGroup(click.Group):
    """A group whose commands are imported on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, attribute = _HOMES.get(cmd_name, (cmd_name.replace("-", "_"), "command"))
        command: click.Command = getattr(import_module(f"mailer.cli.{module}"), attribute)
        command.short_help = COMMANDS[cmd_name]
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] in TO_COME:
            raise click.UsageError(f"'{args[0]}' isn't in this version yet.", ctx)
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            raise click.UsageError(f"There is no command '{args[0]}'. {nearest(args[0], list(COMMANDS))}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="mailer")
@config_option
def cli() -> None:
    """Newsletters from a Markdown file to every subscriber: nobody twice, nobody lost.

    'mailer demo' shows it on sample data; 'mailer COMMAND --help' tells more about a command.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """The console script. Exits 0 when done, 1 when it failed, 2 when misused."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Runs a command line; gives its exit status."""
    try:
        status = cli.main(args=list(arguments), prog_name="mailer", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as help_wanted:
        click.echo(help_wanted.format_message())
        return 2 if arguments else 0
    except click.ClickException as misuse:
        misuse.show()
        return misuse.exit_code
    except MailerError as error:
        # What is wrong with a file is file:line, as editors read it, or several of these.
        text = str(error)
        located = isinstance(error, ConfigError | CompileError | ContentError) and re.search(r":\d+\Z", error.where)
        click.echo(text if located or "\n" in text else f"{_red('mailer:')} {text}", err=True)
        return 1
    except (click.Abort, KeyboardInterrupt):
        click.echo("Stopped.", err=True)
        return 130
    except BrokenPipeError:
        # Whoever read our output has seen enough; Python's own flush at exit must not complain about it either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status if isinstance(status, int) else 0


def _red(text: str) -> str:
    return click.style(text, fg="red", bold=True)
