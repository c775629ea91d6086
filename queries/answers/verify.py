"""Is the record itself whole: what the lake holds against what the collectors sealed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from linktrail.clock import Clock
from linktrail.errors import IntegrityError
from queries.answer import Answer
from queries.answers.about import asked
from queries.engine import Engine


@dataclass(frozen=True, slots=True)
class Verified(Answer):
    """An answer whose exit code also says that the record is broken."""

    broken: int = 0

    @property
    def exit_code(self) -> int:
        """12 where a run is broken, else as every answer."""
        return IntegrityError.exit_code if self.broken else self.completeness.exit_code


def verify(
    lake: Path | Engine,
    *,
    since: int | None = None,
    until: int | None = None,
    cluster: str | None = None,
    node: str | None = None,
    clock: Clock | None = None,
) -> Verified:
    """Check hash chain, numbering and row counts of every collector run, or of those of a time; a row each, the broken ones first."""
    answer = asked(lake, "verify", {"since": since, "until": until, "cluster": cluster, "node": node}, clock=clock)
    verdicts = answer.rows.column("verdict").to_pylist()
    broken, gaps = verdicts.count("broken"), verdicts.count("gap")
    rows = sum(answer.rows.column("rows_found").to_pylist())
    if broken:
        said = f"{broken} of {len(verdicts)} runs are broken: what is in the lake is not what their collectors sealed."
    elif not verdicts:
        said = "Nothing to verify: no batch was received."
    else:
        also = f"; {gaps} with batches that the record says are missing" if gaps else ""
        said = f"{len(verdicts)} runs with {rows} rows agree with what their collectors sealed{also}."
    answer = replace(answer, notes=(said,))
    return Verified(answer.question, answer.asked, answer.sheets, answer.completeness, answer.notes, broken)
