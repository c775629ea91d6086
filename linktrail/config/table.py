"""Every setting there is, once: parsing, ``linktrail config``, docs/configuration.md and deploy/linktrail.toml come from this table.

A key is ``section.name`` as in the file (``name`` alone stands at its top). Names of variables avoid what Kubernetes injects for a Service
(``<NAME>_PORT``, ``<NAME>_SERVICE_HOST``), hence ``LINKTRAIL_SERVE_LISTEN``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

QUERIES: Final = "queries"


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting. ``kind`` is a key of ``linktrail.config.kinds.KINDS``; ``default`` as text, empty where the program chooses (``usual``).

    ``verbs`` name the programs that heed it, ``QUERIES`` all verbs that ask a lake; ``reload`` whether SIGHUP takes it up.
    """

    key: str
    kind: str
    default: str
    env: str
    verbs: tuple[str, ...]
    meaning: str
    flag: str = ""
    usual: str = ""
    reload: bool = False
    choices: tuple[str, ...] = ()

    @property
    def section(self) -> str:
        """The table of the file that it stands in; empty at the top."""
        return self.key.rpartition(".")[0]

    @property
    def name(self) -> str:
        """Its name in that table."""
        return self.key.rpartition(".")[2]


_RECORDERS = ("collect", "up")
_SHIPPERS = ("collect",)
_KAFKA = ("collect", "process", "topics")
_PROGRAMS = ("collect", "process")


def _pace(name: str, default: str, meaning: str, kind: str = "duration") -> Setting:
    return Setting(f"collect.{name}", kind, default, f"LINKTRAIL_{name.upper()}", _RECORDERS, meaning, reload=True)


def _kafka(name: str, meaning: str, kind: str = "text", default: str = "", choices: tuple[str, ...] = ()) -> Setting:
    env = f"LINKTRAIL_KAFKA_{name.upper()}"
    return Setting(f"kafka.{name}", kind, default, env, _KAFKA, meaning, f"--kafka-set {name.replace('_', '-')}=...", choices=choices)


SETTINGS: Final = (
    Setting(
        "state",
        "path",
        "",
        "LINKTRAIL_STATE",
        ("collect", "process", "up", QUERIES),
        "Where linktrail keeps its own files: spool, ledger, status.",
        "--state",
        usual="/var/lib/linktrail for root, ~/.local/state/linktrail otherwise",
    ),
    Setting("cluster", "text", "", "LINKTRAIL_CLUSTER", (*_RECORDERS, "topics"), "Name of the cluster in every row.", "--cluster"),
    Setting("node", "text", "", "LINKTRAIL_NODE", _RECORDERS, "Name of this node in every row.", "--node", usual="the host's name"),
    Setting(
        "lake",
        "lake",
        "",
        "LINKTRAIL_LAKE",
        ("process", "up", QUERIES),
        "The lake: a directory, or s3://bucket/lake, abfss://..., gs://...",
        "--lake",
        usual="lake/ in the state directory",
    ),
    Setting(
        "cache",
        "path",
        "",
        "LINKTRAIL_CACHE",
        (QUERIES,),
        "Local copies of the files of a lake in an object store.",
        usual="~/.cache/linktrail",
    ),
    Setting(
        "log.level",
        "choice",
        "info",
        "LINKTRAIL_LOG_LEVEL",
        _PROGRAMS,
        "The least severe records that are logged.",
        "--log-level",
        reload=True,
        choices=("debug", "info", "warning", "error"),
    ),
    Setting(
        "log.format",
        "choice",
        "console",
        "LINKTRAIL_LOG_FORMAT",
        _PROGRAMS,
        "How records are written: lines for people, or JSON objects.",
        "--log-format",
        choices=("console", "json"),
    ),
    Setting(
        "collect.roots", "paths", "", "LINKTRAIL_ROOTS", _RECORDERS, "Storage roots.", "[ROOT]...", usual="those found on this machine"
    ),
    Setting(
        "collect.watch",
        "choice",
        "inotify",
        "LINKTRAIL_WATCH",
        _RECORDERS,
        "How stores are watched; auto takes the deepest mode that is allowed.",
        "--watch",
        choices=("inotify", "fanotify", "survey-only", "auto"),
    ),
    Setting(
        "collect.proc",
        "path",
        "",
        "LINKTRAIL_PROC",
        _RECORDERS,
        "Where mounts and open files are read; off: not at all.",
        "--proc",
        usual="/host/proc where it is, else /proc",
    ),
    Setting(
        "collect.metrics",
        "address",
        "",
        "LINKTRAIL_COLLECT_METRICS",
        _SHIPPERS,
        "Address of the collector's /metrics, /readyz and /livez.",
        "--metrics",
        usual="off",
    ),
    Setting("collect.spool_limit", "size", "1GiB", "LINKTRAIL_SPOOL_LIMIT", _RECORDERS, "The most that the spool may take."),
    Setting(
        "collect.min_age",
        "duration",
        "",
        "LINKTRAIL_MIN_AGE",
        _RECORDERS,
        "How old a thing must be to be a leak.",
        "--min-age",
        usual="per code (docs/findings.md)",
        reload=True,
    ),
    Setting(
        "collect.quiet",
        "duration",
        "0.1",
        "LINKTRAIL_QUIET",
        _RECORDERS,
        "A store is read once it was quiet for so long.",
        "--quiet",
        reload=True,
    ),
    Setting(
        "collect.max_delay",
        "duration",
        "0.6",
        "LINKTRAIL_MAX_DELAY",
        _RECORDERS,
        "... or has waited for so long.",
        "--max-delay",
        reload=True,
    ),
    _pace("survey_interval", "5m", "A store is read at least so often."),
    _pace("heartbeat", "1m", "How often a heartbeat is recorded; one that misses is a gap."),
    _pace("checkpoint_interval", "30", "How often the ledger is written."),
    _pace("diagnose_interval", "2", "How often a store that changes all the time is diagnosed."),
    _pace("sample_interval", "5m", "How often what grows is measured."),
    _pace("filesystem_interval", "1m", "How often filesystems are measured."),
    Setting(
        "collect.broker_limit",
        "duration",
        "5m",
        "LINKTRAIL_BROKER_LIMIT",
        _SHIPPERS,
        "Brokers that are away for longer make the collector not ready.",
        reload=True,
    ),
    Setting(
        "process.metrics",
        "address",
        "",
        "LINKTRAIL_PROCESS_METRICS",
        ("process",),
        "Address of the processor's /metrics, /readyz and /livez.",
        "--metrics",
        usual="off",
    ),
    Setting(
        "process.flush_rows", "count", "100000", "LINKTRAIL_FLUSH_ROWS", ("process",), "Commit when so many rows wait.", "--flush-rows"
    ),
    Setting(
        "process.flush_megabytes", "count", "64", "LINKTRAIL_FLUSH_MEGABYTES", ("process",), "... or so many MiB.", "--flush-megabytes"
    ),
    Setting(
        "process.flush_after",
        "duration",
        "2s",
        "LINKTRAIL_FLUSH_AFTER",
        ("process",),
        "... or a change has waited for so long.",
        "--flush-after",
    ),
    Setting(
        "process.maintain_every",
        "duration",
        "",
        "LINKTRAIL_MAINTAIN_EVERY",
        ("process",),
        "How often the lake is compacted and old days go.",
        "--maintain-every",
        usual="never",
    ),
    Setting("process.keep", "keep", "400d", "LINKTRAIL_KEEP", ("process",), "How much history upkeep keeps whole, or forever.", "--keep"),
    Setting(
        "process.lag_limit",
        "count",
        "100000",
        "LINKTRAIL_LAG_LIMIT",
        ("process",),
        "A processor that is so many batches behind is not ready.",
        reload=True,
    ),
    Setting("kafka.brokers", "brokers", "", "LINKTRAIL_KAFKA", _KAFKA, "The brokers of a fleet.", "--kafka", usual="no Kafka"),
    Setting(
        "kafka.group",
        "text",
        "",
        "LINKTRAIL_KAFKA_GROUP",
        ("process",),
        "The consumer group that shares the partitions.",
        "--group",
        usual="none: all partitions",
    ),
    Setting(
        "kafka.partitions",
        "text",
        "",
        "LINKTRAIL_KAFKA_PARTITIONS",
        ("process",),
        "Partitions of this processor (0,2,5-7), without a group.",
        "--partitions",
        usual="all",
    ),
    _kafka("topic", "Topic of the events.", default="linktrail.events.v1"),
    replace(_kafka("topic_per_node", "Write a topic of this node's own, topic.CLUSTER.NODE.", "flag", default="no"), verbs=_SHIPPERS),
    _kafka("dead_letter_topic", "Topic of the dead letters.", default="linktrail.dlq.v1"),
    _kafka("tls", "Encrypt, with the certificates of the system.", "flag", default="no"),
    _kafka("ca_file", "Encrypt, and trust this authority.", "path"),
    _kafka("certificate_file", "Certificate of this client.", "path"),
    _kafka("key_file", "Its key.", "secret"),
    _kafka("key_password_file", "The password of the key.", "secret"),
    _kafka("sasl_mechanism", "How to be admitted.", "choice", choices=("SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER")),
    _kafka("username", "User for SCRAM."),
    _kafka("password_file", "Password for SCRAM.", "secret"),
    _kafka("token_file", "Token for OAUTHBEARER, read for each connection.", "secret"),
    Setting(
        "serve.host",
        "text",
        "127.0.0.1",
        "LINKTRAIL_SERVE_HOST",
        ("serve",),
        "Address to listen on; any but loopback needs a token.",
        "--host",
    ),
    Setting("serve.port", "port", "8377", "LINKTRAIL_SERVE_LISTEN", ("serve",), "Port to listen on.", "--port"),
    Setting("serve.token_file", "secret", "", "LINKTRAIL_SERVE_TOKEN_FILE", ("serve",), "The token that is asked for.", "--token-file"),
)
BY_KEY: Final = {setting.key: setting for setting in SETTINGS}
BY_ENV: Final = {setting.env: setting for setting in SETTINGS}
SECTIONS: Final = tuple(dict.fromkeys(setting.section for setting in SETTINGS))
# A section of its own, with the settings of an object store by the names that its vendor gives them (processor.location).
LAKE_OPTIONS: Final = "lake_options"
LAKE_OPTION_ENV: Final = "LINKTRAIL_LAKE_OPTION_"
CONFIG_ENV: Final = "LINKTRAIL_CONFIG"
# Variables that are no settings of a program.
OTHER_ENV: Final = (CONFIG_ENV, "LINKTRAIL_TRACEBACK")
