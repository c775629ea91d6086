"""The ``linktrail`` command: a table of verbs, each loaded by name only when it is asked for.

The waist knows no other package. A verb's module is imported when the verb runs (or its help is shown), so ``linktrail check``
starts without DuckDB, and a missing extra breaks only the verbs that need it, with one clear message.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Annotated, Any, cast

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException
from typer.main import get_command

from linktrail import __version__
from linktrail.config.option import add_config_option
from linktrail.errors import EXIT_INTERRUPTED, LinktrailError, UsageError
from linktrail.late import load_late
from linktrail.reporting import report, report_unknown, wants_json


@dataclass(frozen=True, slots=True)
class Verb:
    """One subcommand: its name, where its function lives, what it is for in a line, and the extra that it needs."""

    name: str
    target: str
    purpose: str
    extra: str = ""
    configured: bool = True  # whether it heeds settings of a configuration file


VERBS = (
    Verb("up", "queries.up:up", "Record this machine's stores, and show what leaks.", "all"),
    Verb("check", "collector.commands:check", "Look at stores once and name what leaks and what is broken.", configured=False),
    Verb(
        "explain",
        "collector.commands:explain",
        "What an engine's error message means, and whether that damage is here.",
        configured=False,
    ),
    Verb("whatis", "collector.commands:whatis", "What a path is in each layer, and which of them is seen.", configured=False),
    Verb("findings", "queries.verbs.findings:findings", "What leaked or was broken, now or at an instant.", "query"),
    Verb("timeline", "queries.verbs.timeline:timeline", "Everything that happened to a layer, image, container or path.", "query"),
    Verb("usage", "queries.verbs.usage:usage", "Bytes by layer, store and filesystem, now or at an instant.", "query"),
    Verb("whois", "queries.verbs.about:whois", "Whose layer, directory, image or container it is, also after deletion.", "query"),
    Verb("why", "queries.verbs.about:why", "What holds a layer or image, by which path of links.", "query"),
    Verb("shared-by", "queries.verbs.about:shared_by", "What shares a layer.", "query"),
    Verb("can-delete", "queries.verbs.doing:can_delete", "Is it safe to delete: a verdict with reasons.", "query"),
    Verb("repair-plan", "queries.verbs.doing:repair_plan", "Steps that repair just this; printed, never run.", "query"),
    Verb("growth", "queries.verbs.between:growth", "What grew between two instants.", "query"),
    Verb("diff", "queries.verbs.between:diff", "The link graph at one instant against another.", "query"),
    Verb("coverage", "queries.verbs.between:coverage", "Was the record complete in this time.", "query"),
    Verb("images", "queries.verbs.listing:images", "Images at an instant.", "query"),
    Verb("containers", "queries.verbs.listing:containers", "Containers at an instant.", "query"),
    Verb("inspect", "queries.verbs.about:inspect", "A container, image or layer as its engine would have described it.", "query"),
    Verb("forecast", "queries.verbs.between:forecast", "When each filesystem is full, and since when it fills like that.", "query"),
    Verb("fleet", "queries.verbs.listing:fleet", "Which nodes show the same finding, since which minute.", "query"),
    Verb("report", "queries.verbs.report:report", "Write the postmortem of a time.", "report"),
    Verb("export", "queries.verbs.export:export", "The history for Timesketch, ECS or OCSF.", "query"),
    Verb("serve", "queries.verbs.serve:serve", "The history as web pages.", "serve"),
    Verb("verify", "queries.verbs.verify:verify", "Is the record itself whole.", "query"),
    Verb("query", "queries.verbs.query:query", "Ask a ready question (--list shows them).", "query"),
    Verb("sql", "queries.verbs.sql:sql", "Ask the history in SQL.", "query"),
    Verb("shell", "queries.verbs.shell:shell", "SQL over the history, statement after statement.", "query"),
    Verb("demo", "queries.up:demo", "Play an incident on a small store, and explain it.", "all", configured=False),
    Verb("collect", "collector.commands:collect", "The collector alone: record into the spool, or ship to Kafka."),
    Verb("process", "processor.commands:process", "The processor alone: spool or Kafka to lake.", "lake"),
    Verb("topics", "linktrail.topics:topics", "Compare Kafka's topics with their declaration, or make them so.", "kafka"),
    Verb("doctor", "linktrail.doctor:doctor", "Is this host or pod fit for it, and what to fix.", configured=False),
    Verb("config", "linktrail.config.verb:config", "Every setting, its value, and where that came from.", configured=False),
)
_BY_NAME = {verb.name: verb for verb in VERBS}


def load(verb: Verb) -> Any:  # noqa: ANN401 - typer's command type is private
    """Import the function of ``verb`` and wrap it as a command. Raises ``MissingExtraError`` when a library is not installed."""
    module, function_name = verb.target.split(":")
    function = getattr(load_late(module, for_verb=verb.name, extra=verb.extra or "all"), function_name)
    single = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    single.command(name=verb.name, context_settings={"help_option_names": ["-h", "--help"]})(function)
    command = get_command(single)
    if verb.configured:
        add_config_option(command)
    return command


class _Verbs(TyperGroup):
    """A group that loads its commands when they are named; its help loads none."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401, ARG002 - typer's signature
        with formatter.section("Commands"):
            formatter.write_dl([(verb.name, verb.purpose) for verb in VERBS])

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ANN401, ARG002 - typer's signature
        return [verb.name for verb in VERBS]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ANN401, ARG002 - typer's signature
        verb = _BY_NAME.get(cmd_name)
        return load(verb) if verb else None


app = typer.Typer(
    cls=_Verbs,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"linktrail {__version__}")
        raise typer.Exit


@app.callback()
def linktrail(
    *,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    """The flight recorder of container storage.

    linktrail up records this machine; linktrail check ROOT looks once, without history; linktrail demo shows both on a small store.
    """
    del version


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; every failure is one message on standard error."""
    words = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    as_json = wants_json(words)
    try:
        result = get_command(app).main(args=words, prog_name="linktrail", standalone_mode=False)
        sys.stdout.flush()
    except LinktrailError as error:
        return report(error, as_json=as_json)
    except TyperException as error:  # unknown option, missing argument, ...
        return report(UsageError(what=error.format_message()), as_json=as_json)
    except (KeyboardInterrupt, typer.Abort):
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        return _reader_left()
    except Exception as error:  # noqa: BLE001 - the last line of defence names it; a person never meets a bare traceback
        return report_unknown(error, as_json=as_json)
    return result if isinstance(result, int) else 0


def _reader_left() -> int:
    """The reader of our output went away (``| head``): not our failure; keep Python from complaining at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def script() -> None:
    """Entry point of the installed ``linktrail`` program."""
    if sys.argv[1:2] == ["collect"]:
        sys.modules["numpy"] = cast("ModuleType", None)  # Arrow loads it where it is installed: 12 MB that no collector has a use for
        os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")  # nor for a heap of Arrow's own, 5 MB
    sys.exit(main())
