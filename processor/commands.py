"""The processor's verb: ``linktrail process`` (spool or Kafka to lake)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from linktrail.broker import Connection, KafkaBrokers, KafkaSettings
from linktrail.config.reload import Reload
from linktrail.config.table import BY_KEY
from linktrail.durations import parse_duration
from linktrail.errors import MissingExtraError, UsageError
from linktrail.logs import LogFormat, LogLevel, running
from linktrail.state import open_state
from processor import location
from processor.upkeep.beside import DEFAULT_KEEP, Keep, Maintain, MaintainEvery, keep_once, keeping

if TYPE_CHECKING:
    from processor.kafka_feed import Membership
    from processor.pipeline import FlushPolicy

LakeOption = Annotated[
    Path | None,
    typer.Option(
        "--lake",
        metavar="DIR|URL",
        envvar="LINKTRAIL_LAKE",
        parser=location.place,
        help="The lake: a directory (default: lake/ in the state directory) or s3://bucket/lake, abfss://..., gs://...",
    ),
]
_ROWS, _MEGABYTES, _SECONDS = 100_000, 64, "2s"


def process(
    context: typer.Context,
    *,
    state: Annotated[
        Path | None, typer.Option("--state", metavar="DIR", envvar="LINKTRAIL_STATE", help="Where linktrail keeps its own files.")
    ] = None,
    lake: LakeOption = None,
    drain: Annotated[bool, typer.Option("--drain", help="Commit what is there now, and end.")] = False,
    kafka: KafkaBrokers = None,
    kafka_set: KafkaSettings = None,
    group: Annotated[
        str | None, typer.Option("--group", metavar="NAME", envvar="LINKTRAIL_KAFKA_GROUP", help="Share the partitions in this group.")
    ] = None,
    partitions: Annotated[
        str | None,
        typer.Option(
            "--partitions",
            metavar="LIST",
            envvar="LINKTRAIL_KAFKA_PARTITIONS",
            help="Read these partitions (0,2,5-7); default: all. Not with --group.",
        ),
    ] = None,
    flush_rows: Annotated[
        int, typer.Option("--flush-rows", min=1, envvar="LINKTRAIL_FLUSH_ROWS", help="Commit at the latest when so many rows wait.")
    ] = _ROWS,
    flush_megabytes: Annotated[
        int, typer.Option("--flush-megabytes", min=1, envvar="LINKTRAIL_FLUSH_MEGABYTES", help="... or so many MiB.")
    ] = _MEGABYTES,
    flush_after: Annotated[
        str,
        typer.Option("--flush-after", metavar="DURATION", envvar="LINKTRAIL_FLUSH_AFTER", help="... or a change has waited for so long."),
    ] = _SECONDS,
    maintain: Maintain = False,
    maintain_every: MaintainEvery = None,
    keep: Keep = DEFAULT_KEEP,
    metrics: Annotated[
        str | None,
        typer.Option(
            "--metrics",
            metavar="ADDRESS:PORT",
            envvar="LINKTRAIL_PROCESS_METRICS",
            help="Serve /metrics, /readyz and /livez there (docs/metrics.md).",
        ),
    ] = None,
    log_level: LogLevel = "info",
    log_format: LogFormat = "console",
) -> int:
    """Commit the batches of the spool, or of Kafka, to the lake, each row exactly once, until stopped (SIGINT or SIGTERM).

    Examples: linktrail process --kafka kafka-1:9092 --group processors --lake /srv/lake
              linktrail process --maintain-every 10m --keep 90d
              linktrail process --maintain --lake /srv/lake
    """
    from processor import program  # noqa: PLC0415 - --help must not wait for it
    from processor.watching import LAG_LIMIT, Watching  # noqa: PLC0415 - likewise

    opened = open_state(state, [], lake)
    place = opened.lake
    if maintain:
        return keep_once(place, keep)
    policy = _policy(flush_rows, flush_megabytes, flush_after)
    connection = Connection.of(kafka, kafka_set or []) if kafka else None
    if connection is None and (group or partitions):
        raise UsageError(what="--group and --partitions belong to --kafka")
    lag = os.environ.get(BY_KEY["process.lag_limit"].env)
    watching = Watching(metrics or None, Reload.of(context, "process"), int(lag) if lag else LAG_LIMIT)
    with running("process", level=log_level, form=log_format), keeping(place, maintain_every, keep):
        if connection is not None:
            return program.process_kafka(connection, _membership(group, partitions), place, policy=policy, drain=drain, watching=watching)
        if drain:
            program.drain(opened, place)
            return 0
        return program.process(opened, place, policy=policy, watching=watching)


def _policy(rows: int, megabytes: int, after: str) -> FlushPolicy:
    from processor.pipeline import FlushPolicy  # noqa: PLC0415 - --help must not wait for it

    return FlushPolicy(rows=rows, size_bytes=megabytes << 20, urgent_seconds=parse_duration(after, "--flush-after"))


def _membership(group: str | None, partitions: str | None) -> Membership:
    try:
        from processor.kafka_feed import Membership  # noqa: PLC0415 - a processor of a spool needs no library for Kafka
    except ModuleNotFoundError as error:
        raise MissingExtraError(verb="process --kafka", library=error.name, extra="kafka") from error
    if group and partitions:
        raise UsageError(what="--partitions are one's own, --group shares them: name one of the two")
    return Membership(group=group or "", partitions=None if partitions is None else _numbers(partitions))


def _numbers(text: str) -> tuple[int, ...]:
    found: set[int] = set()
    for part in text.split(","):
        first, separator, last = part.strip().partition("-")
        if not first.isdecimal() or (separator and not last.isdecimal()):
            raise UsageError(what=f"--partitions takes numbers and ranges such as 0,2,5-7, not '{text}'")
        found.update(range(int(first), int(last or first) + 1))
    return tuple(sorted(found))
