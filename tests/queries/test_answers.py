from __future__ import annotations

import io
from datetime import UTC, datetime
from pathlib import Path

import pytest

from linktrail.errors import AmbiguousSubjectError, UnknownSubjectError, UsageError
from linktrail.output import Format, write_output
from linktrail.testing.clock import FakeClock
from queries.answer import Answer
from queries.answers.findings import findings_at
from queries.answers.timeline import happened_around, happened_to
from queries.answers.usage import usage_at
from queries.catalog import questions
from queries.completeness import to_nanoseconds
from queries.engine import Engine, open_lake
from queries.subjects import Subject, find_subject
from queries.words import happened
from tests.queries.golden import check_golden
from tests.queries.lakes import STORE, Run, at, write_lake
from tests.queries.story import BASE, CRASHED, IMAGE, LEAKED, SERVER, SHORT, TOP

NOW = FakeClock(at(3650))


def rendered(answer: Answer, form: Format) -> str:
    """Return an answer as the command writes it: rows, then what goes to standard error."""
    stream = io.StringIO()
    write_output(answer.sheets, form, answer.document(), stream=stream)
    return stream.getvalue() + ("" if form is Format.JSON else "".join(f"stderr: {line}\n" for line in answer.lines()))


# --- pinned -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["table", "json", "md", "csv", "jsonl"])
def test_findings_golden(engine: Engine, form: str) -> None:
    """What the command shows while the leak is open, in every text form."""
    check_golden(f"findings.{form}", rendered(findings_at(engine, at=at(1900), clock=NOW), Format(form)))


@pytest.mark.parametrize("form", ["table", "json"])
def test_usage_golden(engine: Engine, form: str) -> None:
    """Sizes with roles and owners, and totals."""
    check_golden(f"usage.{form}", rendered(usage_at(engine, at=at(1900), clock=NOW), Format(form)))


@pytest.mark.parametrize("form", ["table", "json", "md"])
def test_timeline_golden(engine: Engine, form: str) -> None:
    """A whole life on one axis: created, linked, measured, leaked, the boot, the gap, cleaned up."""
    check_golden(f"timeline.{form}", rendered(happened_to(engine, LEAKED[:8], clock=NOW), Format(form)))


# --- findings ---------------------------------------------------------------------------------------------------


def test_the_worst_comes_first(tmp_path: Path) -> None:
    """By severity, then by bytes."""
    run = Run()
    for subject, severity, size in (("a", "info", 9), ("b", "critical", None), ("c", "error", 1), ("d", "error", 5), ("e", "warning", 7)):
        run.finding("opened", "unaccounted-layer", subject, (1, 2), severity=severity, bytes=size)
    lake = write_lake(tmp_path / "lake", [run])
    assert findings_at(lake, clock=NOW).rows["subject"].to_pylist() == ["b", "d", "c", "e", "a"]


@pytest.mark.parametrize(
    ("choice", "count"),
    [({}, 1), ({"node": "n1"}, 1), ({"node": "n2"}, 0), ({"store": STORE}, 1), ({"store": "/x"}, 0), ({"family": "breaks"}, 0),
     ({"code": "unaccounted-layer"}, 1)],
)  # fmt: skip
def test_findings_can_be_narrowed(engine: Engine, choice: dict[str, str], count: int) -> None:
    """By node, store, family and code."""
    assert findings_at(engine, at=at(1900), clock=NOW, **choice).rows.num_rows == count


def test_now_is_the_default(engine: Engine) -> None:
    """Without an instant the present is asked, which a live collector's last word covers."""
    answer = findings_at(engine, clock=NOW)
    assert answer.rows.num_rows == 0
    assert answer.exit_code == 0
    assert answer.notes == ("No finding is on record for that instant.",)


# --- usage ------------------------------------------------------------------------------------------------------


def test_roles_and_owners_are_those_of_the_instant(engine: Engine) -> None:
    """A layer is a container's while that lives and an orphan while it leaks; image layers have the name of an image that needs them."""

    def roles(seconds: float) -> dict[str, tuple[str, str | None]]:
        rows = usage_at(engine, at=at(seconds), clock=NOW).rows.to_pylist()
        layers = (row for row in rows if row["scope"] == "layer")
        return {row["subject"]: (row["role"], row["container_name"] or row["container_image_name"]) for row in layers}

    assert roles(1000)[LEAKED] == ("container", "worker")
    assert roles(1900)[LEAKED] == ("orphan", "worker")
    assert LEAKED not in roles(3500)
    assert roles(1000)[BASE] == roles(1000)[TOP] == ("image", "docker.io/library/nginx:1")


def test_totals_add_up(engine: Engine) -> None:
    """Totals by role are the sums of the layers."""
    answer = usage_at(engine, at=at(1900), clock=NOW)
    totals = {row["role"]: row["bytes"] for sheet in answer.sheets if sheet.name == "totals" for row in sheet.shown.to_pylist()}
    assert totals == {"image": 73_000_000, "orphan": 9_000_000, "container": 40_960}


# --- timeline ---------------------------------------------------------------------------------------------------


def told(engine: Path | Engine, subject: str, *, since: int | None = None, until: int | None = None) -> list[str]:
    """Return the words of a timeline."""
    words: list[str] = happened_to(engine, subject, clock=NOW, after=since, before=until).rows["happened"].to_pylist()
    return words


def test_links_in_both_directions(engine: Engine) -> None:
    """What points to a layer belongs to its life: the child's parent pointer, the image, the container, lower files naming it."""
    words = "\n".join(told(engine, TOP))
    assert f"parent of layer {LEAKED} -> {TOP} appeared" in words
    assert f"top layer of image {IMAGE} -> {TOP}" in words
    assert f"short link TOPSHORT -> ../{TOP}/diff, before ../{BASE}/diff" in words


def test_a_lower_file_is_found_by_the_short_name_in_it(engine: Engine) -> None:
    """A lower file names short links, not layers."""
    words = "\n".join(told(engine, TOP))
    assert f"overlay/{LEAKED}/lower -> l/TOPSHORT:l/BASESHORT appeared" in words


def test_a_window_narrows_the_timeline(engine: Engine) -> None:
    """From one instant up to another, intervals that reach into it included."""
    words = told(engine, LEAKED, since=at(1200.2), until=at(1700))
    assert len(words) == 3
    assert all("removed" in word for word in words)
    assert told(engine, LEAKED, since=at(1300), until=at(1700)) == []


def test_equal_sizes_are_told_once(tmp_path: Path) -> None:
    """A size that stays is no event; growth and shrinking are told with their amount."""
    run = Run()
    for moment, size in ((1, 1000), (2, 1000), (3, 6000), (4, 2000), (5, None)):
        run.usage("layer", "layer1", (moment, moment + 0.1), size)
    words = told(write_lake(tmp_path / "lake", [run]), "layer1")
    assert words == [
        "layer measured: 1.0 kB",
        "layer measured: 6.0 kB, grown by 5.0 kB since the sample before",
        "layer measured: 2.0 kB, shrunk by 4.0 kB since the sample before",
        "layer measured: of unknown size",
    ]


def test_a_full_filesystem_is_on_the_axis(tmp_path: Path) -> None:
    """When something was created on a filling disk, that is part of what happened to it."""
    run = Run()
    run.finding("opened", "filesystem-filling", "/srv", (1, 2), subject_kind="filesystem", family="growth", message="/srv will be full")
    run.link("layer_record", "created", "layer1", (3, 4))
    assert any("/srv will be full" in word for word in told(write_lake(tmp_path / "lake", [run]), "layer1"))


def test_several_nodes_are_told_apart(tmp_path: Path) -> None:
    """An image's layer can be on many nodes; the node stands in every line, and --node narrows."""
    runs = [Run(node="n1"), Run(node="n2")]
    for run in runs:
        run.link("layer_record", "created", "layer1", (3, 4))
    lake = write_lake(tmp_path / "lake", runs)
    answer = happened_to(lake, "layer1", clock=NOW)
    assert answer.sheets[0].shown.column_names == ["after", "before", "node", "origin", "what happened"]
    assert happened_to(lake, "layer1", node="n2", clock=NOW).rows["node"].to_pylist() == ["n2"]


def test_every_link_kind_and_action_has_words() -> None:
    """A kind that is younger than this module is still told, by its own name."""
    row = {"about": "link", "subject": "s", "target": None, "previous_target": None, "file_path": None, "state": "empty"}
    assert happened({**row, "kind": "link_file", "action": "changed"}) == "link file of layer s changed (empty)"
    assert happened({**row, "kind": "brand_new", "action": "created", "state": "present", "target": "t"}) == "brand_new s -> t appeared"
    assert happened({**row, "kind": "link_file", "action": "retargeted", "target": "", "previous_target": "X"}).startswith(
        "link file of layer s -> (empty), before X"
    )


# --- what is meant ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        (LEAKED, Subject(LEAKED)),
        (LEAKED[:6], Subject(LEAKED)),
        (SHORT, Subject(SHORT)),
        (SHORT[:7], Subject(SHORT)),
        (CRASHED[:12], Subject(CRASHED)),
        ("nginx:1", Subject("docker.io/library/nginx:1")),
        ("docker.io/library/nginx:1", Subject("docker.io/library/nginx:1")),
        (f"{STORE}/overlay/{LEAKED}", Subject(LEAKED, f"overlay/{LEAKED}")),
        (f"{STORE}/overlay/{LEAKED}/diff/etc/../passwd", Subject(LEAKED, f"overlay/{LEAKED}/diff/passwd")),
        (f"/host{STORE}/overlay/{LEAKED}/", Subject(LEAKED, f"overlay/{LEAKED}")),
        (f"overlay/{LEAKED}/link", Subject(LEAKED, f"overlay/{LEAKED}/link")),
        (f"{STORE}/overlay/l/{SHORT}", Subject(LEAKED, f"overlay/l/{SHORT}")),
        (f"{STORE}/overlay-containers/containers.json", Subject(None, "overlay-containers/containers.json")),
    ],
)  # fmt: skip
def test_names_mean_what_people_mean(engine: Engine, name: str, meant: Subject) -> None:
    """Whole ids, their beginnings, names, and paths on the node, below /host, or relative to the store."""
    assert find_subject(engine, name) == meant


def test_a_path_timeline_has_what_is_written_there(engine: Engine) -> None:
    """A metadata file's own history."""
    words = told(engine, f"{STORE}/overlay-containers/containers.json")
    assert [word for word in words if SERVER in word]
    assert not [word for word in words if "short link" in word]


def test_ambiguous_beginnings_list_the_candidates(tmp_path: Path) -> None:
    """All are named (up to ten), so that the next try can be right: a usage error."""
    run = Run()
    for number in range(12):
        run.link("layer_record", "created", f"abcdef{number:02d}", (1, 2))
    with open_lake(write_lake(tmp_path / "lake", [run])) as engine:
        with pytest.raises(AmbiguousSubjectError) as caught:
            find_subject(engine, "abcdef")
        assert "12 things" in caught.value.message
        assert "abcdef00" in caught.value.message
        assert "and 2 more" in caught.value.message
        assert caught.value.exit_code == 2
        assert find_subject(engine, "abcdef01") == Subject("abcdef01")


def test_ids_with_a_digest_prefix_are_found_by_what_engines_print(tmp_path: Path) -> None:
    """``docker images`` prints no sha256:."""
    run = Run()
    run.link("image_record", "created", "sha256:feedbeef00", (1, 2))
    with open_lake(write_lake(tmp_path / "lake", [run])) as engine:
        assert find_subject(engine, "feedbeef").id == "sha256:feedbeef00"


def test_a_number_is_the_snapshot_that_containerd_records_with_that_directory(tmp_path: Path) -> None:
    """Also when the directory, or the record, is gone; of two stores both are named."""
    run = Run()
    run.link("layer_directory", "created", "115", (1, 2), layer_id="default/122/k2")
    run.link("layer_record", "created", "default/124/k3", (1, 2), target="116")
    run.link("layer_directory", "created", "7", (1, 2), layer_id="default/9/a")
    run.link("layer_directory", "created", "7", (1, 2), layer_id="k8s.io/9/b")
    run.link("layer_directory", "created", "999", (1, 2))
    with open_lake(write_lake(tmp_path / "lake", [run])) as engine:
        assert find_subject(engine, "115") == Subject("default/122/k2")
        assert find_subject(engine, "116") == Subject("default/124/k3")
        assert find_subject(engine, "999") == Subject("999")
        with pytest.raises(AmbiguousSubjectError, match=r"default/9/a, k8s\.io/9/b"):
            find_subject(engine, "7")


@pytest.mark.parametrize(
    ("name", "error"),
    [("444", UsageError), ("", UsageError), ("nothing-here", UnknownSubjectError), ("/etc/x", UnknownSubjectError)],
)
def test_what_cannot_be_meant_is_said(engine: Engine, name: str, error: type[Exception]) -> None:
    """Too short, nothing, or unknown: one clear error."""
    with pytest.raises(error):
        find_subject(engine, name)


def test_everything_about_an_instant(engine: Engine) -> None:
    """All that happened to anything, filesystem and boot included, and nothing else."""
    rows = happened_around(engine, after=at(2040), before=at(2110), clock=NOW).rows.to_pylist()
    assert [(row["about"], row["action"], row["subject"]) for row in rows] == [
        ("record", "boot", None),
        ("record", "gap", None),
        ("size", "measured", "/srv"),
    ]
    answer = happened_around(engine, after=at(599), before=at(602), clock=NOW)
    assert len(answer.rows) == 8
    assert all(row["observed_at"] <= datetime.fromtimestamp(at(602) / 1e9, UTC) for row in answer.rows.to_pylist())
    assert any("linktrail growth" in note for note in answer.notes), "what grew between two measurements may have grown then"


def test_sizes_about_an_instant_are_told_with_what_they_were_before(engine: Engine) -> None:
    """The sample before the time asked about is looked for, so that growth is growth and not a first size; and one place is one place."""
    everything = [
        row for row in happened_around(engine, after=at(0), before=at(3600), clock=NOW).rows.to_pylist() if row["about"] == "size"
    ]
    later = [row for row in everything if row["previous_bytes"] is not None]
    assert later
    for row in later:
        moment = to_nanoseconds(row["before"])
        alone = happened_around(engine, after=moment, before=moment, clock=NOW).rows.to_pylist()
        assert row in alone
    assert happened_around(engine, after=at(0), before=at(3600), node="n2", clock=NOW).rows.num_rows == 0


# --- the catalog ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(questions()))
def test_every_question_answers_with_the_columns_it_states(engine: Engine, name: str) -> None:
    """The header of a question is its contract: parameters and columns, in order; and it answers with and without them."""
    question = questions()[name]
    fitting = {"timestamp": "2026-11-23T16:30:00Z", "integer": "3"}
    required = {parameter.name: fitting.get(parameter.kind, LEAKED[:8]) for parameter in question.parameters if parameter.required}
    every = {parameter.name: fitting.get(parameter.kind, "x") for parameter in question.parameters}
    for given in (required, {**every, **required}):
        values = question.values(given, at(3600))
        rows = engine.query(question.sql, question.bound(values))
        assert rows.column_names == [column for column, _ in question.columns]
    assert question.question.endswith("?")


def test_whois_finds_owners_of_what_is_gone(engine: Engine) -> None:
    """The pod of a deleted layer, and the images and containers above an image layer."""
    question = questions()["whois"]

    def owners(name: str, **bounds: str) -> set[tuple[str, str]]:
        rows = engine.rows(question.sql, question.bound(question.values({"id": name, **bounds}, at(3600))))
        return {(row["owner_kind"], row["owner"]) for row in rows}

    assert {("pod", "jobs/worker-0"), ("container", "worker")} <= owners(LEAKED[:12])
    everybody = {("image", "docker.io/library/nginx:1"), ("container", "server"), ("container", "worker")}
    assert everybody <= owners(BASE)
    worked = {"since": "2026-11-23T16:05:00Z", "until": "2026-11-23T16:15:00Z"}
    assert everybody <= owners(BASE, **worked)
    assert owners(BASE, since="2026-11-23T16:50:00Z") & everybody == everybody - {("container", "worker")}
    assert owners(BASE, until="2026-11-23T16:01:00Z") & everybody == everybody - {("container", "worker")}
    assert ("container", "worker") in owners(LEAKED, since="2026-11-23T16:31:40Z")  # its layer is left, and whose else is it


def test_holders_and_sharers(engine: Engine) -> None:
    """What points to a layer, and what needs it, at an instant."""
    catalog = questions()

    def ask(name: str, identifier: str, seconds: float) -> set[tuple[str, str]]:
        values = catalog[name].values({"id": identifier}, at(seconds))
        rows = engine.rows(catalog[name].sql, catalog[name].bound(values))
        return {(row.get("held_by") or row["owner_kind"], row.get("subject") or row["owner_id"]) for row in rows}

    assert ask("holders", TOP, 700) >= {("image_layer", IMAGE), ("parent_pointer", LEAKED)}
    assert ("parent_pointer", LEAKED) not in ask("holders", TOP, 1300)
    assert ask("shared_by", BASE, 700) == {("image", IMAGE), ("container", SERVER), ("container", CRASHED)}
    assert ask("shared_by", BASE, 1300) == {("image", IMAGE), ("container", SERVER)}


def test_growth_and_history(engine: Engine) -> None:
    """What grew by how much, until it was removed; and from when to when a finding was open."""
    catalog = questions()

    def grown(by: str, until: float) -> list[tuple[str, int]]:
        values = catalog["growth"].values({"by": by}, at(until))
        return [(row["name"], row["growth_bytes"]) for row in engine.rows(catalog["growth"].sql, catalog["growth"].bound(values))]

    assert grown("filesystem", 3600) == [("/srv", 20_000_000)]
    assert grown("layer", 1000)[0] == (LEAKED, 9_000_000), "made in that time: it began with nothing"
    assert dict(grown("layer", 3600))[LEAKED] == 0, "made and removed in that time"
    assert grown("pod", 1000) == [("jobs/worker-0", 9_000_000)]
    bound = catalog["findings_history"].bound(catalog["findings_history"].values({}, at(3600)))
    history = engine.rows(catalog["findings_history"].sql, bound)
    assert [(row["subject"], row["severity"], row["closed_before"] is not None) for row in history] == [(LEAKED, "error", True)]
