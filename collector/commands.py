"""The collector's verbs: ``check``, ``explain`` and ``whatis`` look once and keep no history, ``collect`` records into the spool."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from linktrail.broker import Connection, KafkaBrokers, KafkaSettings
from linktrail.clock import SystemClock
from linktrail.config.reload import Reload
from linktrail.config.table import BY_KEY
from linktrail.durations import parse_duration
from linktrail.errors import NoStoreFoundError
from linktrail.logs import LogFormat, LogLevel, running
from linktrail.sizes import parse_size

# ``readable=False``: access(2) asks as the real user, who may not read what his CAP_DAC_READ_SEARCH lets him; opening a store asks rightly
Roots = Annotated[
    list[Path] | None,
    typer.Argument(metavar="[ROOT]...", readable=False, help="Storage roots (graphroot); found when none is named."),
]
RecordedRoots = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="[ROOT]...", readable=False, envvar="LINKTRAIL_ROOTS", help="Storage roots (graphroot); found when none is named."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
MinimumAge = Annotated[
    str | None,
    typer.Option(
        "--min-age",
        metavar="DURATION",
        envvar="LINKTRAIL_MIN_AGE",
        help="How old a thing must be to be a leak (0, 10m, 24h); default: per code.",
    ),
]
AdditionalStores = Annotated[
    list[Path] | None, typer.Option("--additional-store", metavar="PATH", help="A read-only image store that the store uses; repeatable.")
]
WatchMode = Annotated[
    str,
    typer.Option(
        "--watch",
        envvar="LINKTRAIL_WATCH",
        metavar="MODE",
        help="inotify (reads the store's directories), fanotify (deep: inside the layers too; needs CAP_SYS_ADMIN), "
        "survey-only, or auto (the deepest allowed).",
    ),
]
Quiet = Annotated[
    str | None,
    typer.Option("--quiet", envvar="LINKTRAIL_QUIET", metavar="DURATION", help="Read a store once it was quiet for so long (0.1)."),
]
MaxDelay = Annotated[
    str | None,
    typer.Option("--max-delay", envvar="LINKTRAIL_MAX_DELAY", metavar="DURATION", help="... or has waited for so long (0.6)."),
]
ProcOption = Annotated[
    Path | None,
    typer.Option(
        "--proc", metavar="DIR", envvar="LINKTRAIL_PROC", help="Where mounts and open files are read (the host's /proc); off: no."
    ),
]
StateOption = Annotated[
    Path | None, typer.Option("--state", metavar="DIR", envvar="LINKTRAIL_STATE", help="Where linktrail keeps its own files.")
]


def check(
    roots: Roots = None,
    *,
    contents: Annotated[
        bool, typer.Option("--contents", help="Also compare the files of every layer with what the engine unpacked (slow).")
    ] = False,
    all_links: Annotated[
        bool, typer.Option("--all-links", help="Implies --contents: also name links that were shipped leading nowhere or out of the root.")
    ] = False,
    owners: Annotated[bool, typer.Option("--whose", help="Also list every layer with its directory, images, containers and pods.")] = False,
    min_age: MinimumAge = None,
    additional_store: AdditionalStores = None,
    proc: ProcOption = None,
    as_json: AsJson = False,
) -> int:
    """Look at stores once and name what leaks and what is broken. Needs no history, changes nothing.

    Exit code 0: healthy. 4: findings. 10: no store there. 1: something could not be read.

    Example: linktrail check /var/lib/containers/storage
    """
    from collector.check import run_check  # noqa: PLC0415 - --help must not wait for it
    from collector.check_view import progress_on, render  # noqa: PLC0415 - likewise

    with progress_on(sys.stderr, quiet=as_json) as progress:
        report = run_check(
            chosen_roots(roots),
            contents=contents or all_links,
            all_links=all_links,
            min_age=None if min_age is None else parse_duration(min_age, "--min-age"),
            additional_stores=additional_store or [],
            clock=SystemClock(),
            progress=progress,
            proc=proc,
        )
    if as_json:
        sys.stdout.write(json.dumps(report.document(owners=owners), indent=1) + "\n")
    else:
        render(report, sys.stdout, owners=owners)
    return report.exit_code


def explain(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="An engine's error message, or lines of a log; - reads standard input.")],
    *,
    root: Annotated[
        list[Path] | None, typer.Option("--root", metavar="ROOT", help="Check this store; repeatable (default: found).")
    ] = None,
    contents: Annotated[bool, typer.Option("--contents", help="Compare files too, where the message can mean that (slow).")] = False,
    look: Annotated[bool, typer.Option("--check/--no-check", help="Look at stores whether the damage is there.")] = True,
    as_json: AsJson = False,
) -> int:
    """Say what an engine's error message means: the damage, how to confirm it, whether it is here now, and the least invasive step.

    Exit code 0: explained. 1: the text holds no message that linktrail knows. 10: no store at a ROOT.

    Example: linktrail explain 'readlink /var/lib/docker/overlay2/l: invalid argument'
    """
    from collector.explain.run import explain_text  # noqa: PLC0415 - --help must not wait for it

    read = sys.stdin.buffer if text == "-" else None
    return explain_text(text, read, roots=root, contents=contents, look=look, as_json=as_json, stream=sys.stdout)


def whatis(
    path: Annotated[str, typer.Argument(metavar="PATH", help="A path as a container names it, such as /etc/pki.")],
    roots: Roots = None,
    *,
    inside: Annotated[
        str | None,
        typer.Option("--in", metavar="NAME", help="Only in this image, container, pod (namespace/name) or layer; a name or an id."),
    ] = None,
    additional_store: AdditionalStores = None,
    as_json: AsJson = False,
) -> int:
    """What a path is in each layer of images and containers: directory, file, link (and where to), whiteout; and which of them is seen.

    Says where the kind changes from layer to layer: a directory over a symbolic link, or the reverse, hides what the lower one leads to.
    What writable layers had at a past instant, deep mode records: linktrail query inside --param path=PATH --param at=INSTANT.

    Exit code 0: answered. 1: no image, container or layer is called so, or something could not be read. 10: no store there.

    Example: linktrail whatis /usr/lib64 --in docker.io/library/app:1
    """
    from collector.whatis import what_is  # noqa: PLC0415 - --help must not wait for it
    from collector.whatis_view import render  # noqa: PLC0415 - likewise

    report = what_is(path, chosen_roots(roots), inside=inside, additional_stores=additional_store or [], clock=SystemClock())
    if as_json:
        sys.stdout.write(json.dumps(report.document(), indent=1) + "\n")
    else:
        render(report, sys.stdout)
    return report.exit_code


def collect(
    context: typer.Context,
    roots: RecordedRoots = None,
    *,
    state: StateOption = None,
    once: Annotated[bool, typer.Option("--once", help="Read the stores once, seal what is new, and end.")] = False,
    cluster: Annotated[str, typer.Option(envvar="LINKTRAIL_CLUSTER", help="Name of the cluster.")] = "",
    node: Annotated[str | None, typer.Option(envvar="LINKTRAIL_NODE", help="Name of this node (default: the host's name).")] = None,
    watch: WatchMode = "inotify",
    quiet: Quiet = None,
    max_delay: MaxDelay = None,
    min_age: MinimumAge = None,
    proc: ProcOption = None,
    kafka: KafkaBrokers = None,
    kafka_set: KafkaSettings = None,
    metrics: Annotated[
        str | None,
        typer.Option(
            "--metrics",
            metavar="ADDRESS:PORT",
            envvar="LINKTRAIL_COLLECT_METRICS",
            help="Serve /metrics, /readyz and /livez there (docs/metrics.md).",
        ),
    ] = None,
    log_level: LogLevel = "info",
    log_format: LogFormat = "console",
) -> int:
    """Record link changes of stores into the spool until stopped (SIGINT or SIGTERM); with --kafka, ship it to Kafka.

    Example: linktrail collect --kafka kafka-1:9092,kafka-2:9092 --cluster prod
    """
    from collector import program  # noqa: PLC0415 - --help must not wait for it
    from collector.settings import Settings  # noqa: PLC0415 - likewise

    settings = Settings.of(min_age=min_age, quiet=quiet, max_delay=max_delay, environment=os.environ)
    connection = Connection.of(kafka, kafka_set or []) if kafka else None
    limit = BY_KEY["collect.broker_limit"]
    options = program.Options.of(
        cluster=cluster,
        node=node,
        once=once,
        watch=watch,
        settings=settings,
        proc=proc,
        kafka=connection,
        spool_limit=spool_limit(os.environ),
        reload=Reload.of(context, "collect"),
        metrics=metrics or None,
        broker_limit=parse_duration(os.environ.get(limit.env) or limit.default, limit.key),
    )
    with running("collect", level=log_level, form=log_format):
        return program.collect(chosen_roots(roots), state, options)


def spool_limit(environment: Mapping[str, str]) -> int:
    """Return the most bytes that the spool may take."""
    limit = BY_KEY["collect.spool_limit"]
    return parse_size(environment.get(limit.env) or limit.default)


def chosen_roots(roots: list[Path] | None) -> list[Path]:
    """Return ``roots``, or the stores of this machine. Raises ``NoStoreFoundError`` when there is none."""
    if roots:
        return roots
    from collector.stores import find_stores, looked_at  # noqa: PLC0415 - --help must not wait for it
    from linktrail.reporting import warn  # noqa: PLC0415 - likewise

    found = [store.root for store in find_stores(warn)]
    if not found:
        raise NoStoreFoundError(looked=", ".join(str(root) for root in looked_at()))
    return found
