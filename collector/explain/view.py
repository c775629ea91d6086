"""What a person sees of an explanation. Everything from the text and from stores is made printable."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, TextIO

from rich.console import Console
from rich.text import Text

from collector.explain.answer import VERDICTS, Explanation
from linktrail.codes import CODES
from linktrail.text import printable

_NO_TERMINAL: Final = 1000  # columns: nobody wraps a file
_SHOWN: Final = 5


def render(explanations: Sequence[Explanation], unexplained: int, stream: TextIO) -> None:
    """Write ``explanations`` to ``stream``; ``unexplained`` lines held no known message."""
    console = Console(file=stream, highlight=False, markup=False, emoji=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = _NO_TERMINAL
    for explanation in explanations:
        for line in _lines(explanation):
            console.print(line)
        console.print()
    if unexplained:
        console.print(Text(f"{unexplained} other line(s) hold no message that linktrail knows.", style="dim"))


def _lines(explanation: Explanation) -> Iterator[Text]:
    match, message = explanation.match, explanation.match.message
    yield Text(printable(match.line), style="bold")
    times = f", {match.count} lines" if match.count > 1 else ""
    yield Text(f"  {message.engines} (line {match.number}{times})", style="dim")
    yield Text(f"  Means: {message.meaning}")
    for code in message.codes:
        yield Text(f"    {code}: {CODES[code].meaning}")
    for store, named in explanation.named[:_SHOWN]:
        owner = named.document()["owner"]
        whose = (
            f" ({', '.join(f'{name} {printable(value)}' for name, value in owner.items())})" if isinstance(owner, dict) and owner else ""
        )
        yield Text(f"  Names: {printable(named.id)} is {named.kind} {printable(named.subject)} in {printable(store.survey.root)}{whose}")
    yield Text(f"  Here: {VERDICTS[explanation.verdict]}", style="yellow" if explanation.findings else "green")
    for store, finding in explanation.findings[:_SHOWN]:
        subject = f"{finding.subject_kind} {printable(finding.subject)}"
        yield Text(f"    {finding.severity} {finding.code} {subject} in {printable(store.survey.root)}: {printable(finding.message)}")
        yield Text(f"      {printable(finding.advice)}", style="green")
    if len(explanation.findings) > _SHOWN:
        yield Text(f"    and {len(explanation.findings) - _SHOWN} more: linktrail check lists them")
    for command in explanation.confirm:
        yield Text(f"  Confirm: {command}")
    yield Text(f"  Next: {message.step}", style="green")
