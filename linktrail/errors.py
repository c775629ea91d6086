"""Every error a person can meet, as classes.

The class docstring is the message template, the class attribute is the exit code, and nothing about errors
lives anywhere else. An error says what happened, where, and what to do next.

Exit codes (documented in README.md; an unknown code means failure):
0 ok, 1 failure, 2 usage, 3 answered but the history has gaps, 4 findings present, 10 no store found,
11 lake unavailable, 12 integrity check failed, 130 interrupted.
"""

from __future__ import annotations

from typing import ClassVar

from linktrail.text import printable

EXIT_OK = 0
EXIT_GAPS = 3
EXIT_FINDINGS = 4
EXIT_INTERRUPTED = 130


class LinktrailError(Exception):
    """{what}"""

    exit_code: ClassVar[int] = 1
    hint: ClassVar[str] = ""

    def __init__(self, **fields: object) -> None:
        """Keep ``fields`` for the template; bytes and control characters in them are made printable."""
        self.fields = {name: printable(value) for name, value in fields.items()}
        super().__init__(self.message)

    @property
    def message(self) -> str:
        """What happened, and where."""
        return (type(self).__doc__ or "").split("\n", 1)[0].format(**self.fields)

    @property
    def advice(self) -> str:
        """What to do next; empty when there is nothing to add."""
        return self.hint.format(**self.fields)

    def document(self) -> dict[str, object]:
        """Return the one JSON object that ``--json`` commands print on standard error."""
        return {
            "error": type(self).__name__,
            "message": self.message,
            "hint": self.advice,
            "exit_code": self.exit_code,
        }


class UsageError(LinktrailError):
    """{what}"""

    exit_code = 2
    hint = "See --help."


class MissingExtraError(LinktrailError):
    """linktrail {verb} needs the library {library}, which is not installed"""

    hint = "pip install 'linktrail[{extra}]'"


class ConfigFileError(UsageError):
    """Configuration {where}: {what}"""

    hint = "docs/configuration.md lists every key; linktrail config show --origin shows what is in force."


class ConfigValueError(UsageError):
    """Environment variable {name}: {what}"""

    hint = "docs/configuration.md lists every variable; linktrail config show --origin shows what is in force."


class StateInStoreError(UsageError):
    """{path} lies inside the store {root}, where linktrail never writes"""

    hint = "Name another directory: --state DIR (LINKTRAIL_STATE), --lake DIR (LINKTRAIL_LAKE)."


class StateUnusableError(LinktrailError):
    """State directory {path} cannot be used: {what}"""

    hint = "Name a writable one: --state DIR (or LINKTRAIL_STATE)."


class ProgramFailedError(LinktrailError):
    """linktrail {verb} ended with code {code}: {words}"""

    hint = "All it said is in {log}."


# --- stores ---------------------------------------------------------------------------------------------------


class StoreError(LinktrailError):
    """Store {root}: {what}"""


class NoStoreError(StoreError):
    """No container store at {root}: {what}"""

    exit_code = 10
    hint = (
        "Name a storage root: of podman, CRI-O or buildah (podman info -f '{{{{.Store.GraphRoot}}}}' prints it), of containerd"
        " (/var/lib/containerd) or of Docker (docker info -f '{{{{.DockerRootDir}}}}' prints it)."
    )


class NoStoreFoundError(LinktrailError):
    """No container store was found on this machine (looked at {looked})"""

    exit_code = 10
    hint = "Name one: linktrail check ROOT. To see linktrail at work without a store: linktrail demo."


class ConfigurationError(LinktrailError):
    """Configuration {path} cannot be understood: {what}"""

    hint = "The stores that it names are not looked for. Name them: linktrail check ROOT."


class StoreUnreadableError(StoreError):
    """Store {root} cannot be read: {what}"""

    hint = "Run as root, or grant CAP_DAC_READ_SEARCH: layer directories are mode 0700."


class PartUnreadableError(StoreError):
    """{path} in store {root} cannot be read: {what}"""

    hint = "What it hides is not judged. Run as root, or grant CAP_DAC_READ_SEARCH; an input/output error is in the kernel log."


class StoreUnstableError(StoreError):
    """Store {root} changed under every one of {attempts} reads"""

    hint = "The engine is writing without pause; try again."


class TooLargeError(StoreError):
    """{path} in store {root} is over the limit of {limit} bytes"""


class MalformedError(StoreError):
    """{path} in store {root} is malformed: {what}"""


class BoltError(MalformedError):
    """{path} in store {root} is no sound bolt file: {what}"""

    hint = "Its owner cannot open it either, or will stop at that page. Keep a copy of the file before anything repairs it."


class UnknownMessageError(LinktrailError):
    """No error message that linktrail knows is in the text ({lines} lines)"""

    hint = "linktrail check looks for damage without a message; its findings say what to do."


# --- batches, spool -------------------------------------------------------------------------------------------


class BatchError(LinktrailError):
    """Batch {where} cannot be decoded: {what}"""

    exit_code = 12


class ForeignBatchError(BatchError):
    """Batch {where} is refused: {what}"""

    exit_code = 12


class NewerSchemaError(BatchError):
    """{where} was written with schema version {found}; this linktrail reads up to {known}"""

    exit_code = 12
    hint = "Upgrade linktrail on this side first."


class SpoolError(LinktrailError):
    """Spool {path}: {what}"""


class SpoolFullError(SpoolError):
    """Spool {path} is full: {what}"""

    hint = "Free space under the spool, or start the processor that drains it."


class SpoolLockedError(SpoolError):
    """Spool {path} is in use by another collector (process {pid})"""

    hint = "Stop that collector, or give this one its own --state directory."


class SpoolRewoundError(SpoolError):
    """Spool {path} went back in time: {what}"""

    hint = (
        "Was it restored from a copy? Stop the collector and move spool.json away: the spool then counts as a new one, "
        "and its batches are taken from the start, without doubling those already there."
    )


class WatchError(LinktrailError):
    """Cannot watch {path}: {what}"""


# --- Kafka ----------------------------------------------------------------------------------------------------


class SecretFileError(UsageError):
    """Secret file {path} cannot be used: {what}"""

    hint = "Give it mode 0600 (or 0640, for a group of its own), and name it by path."


class BrokerError(LinktrailError):
    """Kafka at {brokers}: {what}"""

    hint = "Nothing is lost: batches wait in the spool and in the topic until it works again."


class TopicMissingError(BrokerError):
    """Kafka at {brokers} has no topic {topic}"""

    hint = "Make the topics first: linktrail topics apply --kafka {brokers}."


class TopicNameError(LinktrailError):
    """Topic {name} would have {size} characters; Kafka takes up to {longest}"""

    hint = "Give the node a shorter name (LINKTRAIL_NODE), or let it write the shared topic."


class TopicRewoundError(LinktrailError):
    """Topic {topic} at {brokers} went back in time: partition {partition} ends at {end}, the lake already has it up to {position}"""

    hint = (
        "The brokers lost acknowledged records (was a stale replica elected?). What is missing cannot come back: it will be a gap. "
        "Go on with a topic of another name, on both sides: --kafka-set topic=NAME."
    )


class TopicsDifferError(LinktrailError):
    """Topics differ from what is declared: {what}"""

    hint = "linktrail topics apply makes them so, as far as that loses nothing."


# --- lake -----------------------------------------------------------------------------------------------------


class LakeError(LinktrailError):
    """Lake {path}: {what}"""

    exit_code = 11


class LakeMissingError(LakeError):
    """No lake at {path}"""

    hint = "Record one first: linktrail up --lake {path}."


class LakeFullError(LakeError):
    """Lake {path}: no space left to commit ({what})"""

    hint = "Free space on that filesystem; nothing is lost: the spool keeps every batch until it is committed."


class LakeUnreachableError(LakeError):
    """Lake {path}: the object store does not do what it is asked ({what})"""

    hint = "Nothing is lost: batches stay where they are until the store answers, and are committed then."


class LakeNewerError(LakeError):
    """Lake {path} has schema version {found}; this linktrail knows up to {known}"""

    hint = "Upgrade linktrail; an older version must not write to a newer lake."


class FencedError(LakeError):
    """Lake {path}: another processor committed {source} first"""

    hint = "Nothing is lost: this processor dropped its copy and reads on from the lake's offset."


class IntegrityError(LinktrailError):
    """{what}"""

    exit_code = 12


class ListenError(LinktrailError):
    """Cannot listen on {address}: {what}"""

    hint = "Name another address or port, or stop what listens there."


class ReportUnwritableError(LinktrailError):
    """The report cannot be written into {path}: {what}"""

    hint = "Name another directory: --out DIR."


class QueryError(LinktrailError):
    """{what}"""

    hint = "linktrail sql --help lists the views."


class QueryRefusedError(QueryError):
    """Refused: {what}"""

    exit_code = 2


class QueryLimitError(QueryError):
    """The query was stopped: {what}"""


class UnknownSubjectError(QueryError):
    """Nothing is recorded about {name}"""

    hint = "Name a layer, image, container or short link (6 characters of its id are enough), or a path in a store."


class AmbiguousSubjectError(UsageError):
    """{name} can mean {count} things: {candidates}"""

    hint = "Give more characters of the id."
