"""The links of a timeline are looked up comparison by comparison; together they are what one OR over all rows finds."""

from __future__ import annotations

from pathlib import Path

from linktrail.testing.clock import START
from queries.catalog import question_named
from queries.engine import Engine, open_lake

_DAY = 86_400 * 1_000_000_000
_DIRECTORIES = """
SELECT target FROM links
WHERE link_kind = 'layer_record' AND subject = $id AND store_kind = 'docker_overlay2' AND target IS NOT NULL"""
_SHORT = """
SELECT subject AS name FROM links WHERE link_kind = 'short_link' AND (layer_id = $id OR layer_id IN (<directories>))
UNION SELECT target FROM links WHERE link_kind = 'link_file' AND (subject = $id OR subject IN (<directories>)) AND target <> ''
""".replace("<directories>", _DIRECTORIES)
_WHOLE = """
SELECT run, seq FROM links AS l
WHERE ($id IS NULL AND $path IS NULL) OR subject = $id OR target = $id OR previous_target = $id OR layer_id = $id
   OR subject IN (<directories>) OR layer_id IN (<directories>)
   OR (link_kind = 'short_link' AND EXISTS (FROM (<short names>) AS n WHERE n.name = l.subject))
   OR (link_kind = 'lower_reference' AND (contains(target, $id) OR EXISTS (FROM (<short names>) AS n WHERE contains(l.target, n.name))))
   OR file_path = $path OR starts_with(file_path, $path || '/') OR starts_with(file_path, $path || '#')
ORDER BY ALL
""".replace("<directories>", _DIRECTORIES).replace("<short names>", _SHORT)
_SIZES = "SELECT count(*) AS n FROM usage WHERE ($id IS NULL AND $path IS NULL) OR subject = $id OR container_id = $id"
_NAMES = "SELECT DISTINCT unnest([subject, target, previous_target, layer_id]) AS id FROM links ORDER BY id"


def compare(engine: Engine, subject: str | None, path: str | None) -> int:
    """Compare both ways for one id and path, and return how many links there were."""
    question = question_named("timeline")
    asked = {"id": subject, "path": path}
    found = engine.rows(question.sql, question.bound({**question.defaults(START + _DAY), **asked}))
    links = sorted((row["run"], row["seq"]) for row in found if row["about"] == "link")
    assert links == [(row["run"], row["seq"]) for row in engine.rows(_WHOLE, asked)]
    sizes = [(row["run"], row["seq"]) for row in found if row["about"] == "size"]
    assert len(sizes) == len(set(sizes)) <= engine.rows(_SIZES, asked)[0]["n"]
    return len(links)


def test_every_id_and_path_of_a_record_is_found_the_same_way(story: Path) -> None:
    """Every id that a link names, paths and what lies above them, both together, and neither: no row more, less or twice."""
    with open_lake(story) as engine:
        names = [row["id"] for row in engine.rows(_NAMES) if row["id"]]
        paths = [row["path"] for row in engine.rows("SELECT DISTINCT file_path AS path FROM links ORDER BY path") if row["path"]]
        assert len(names) > 8
        assert len(paths) > 4
        assert all(compare(engine, name, None) for name in names)
        assert all(compare(engine, None, path) for path in [*paths[::4], "overlay"])
        assert compare(engine, names[0], paths[0]) >= compare(engine, names[0], None)
        assert compare(engine, None, None) == engine.rows("SELECT count(*) AS n FROM links")[0]["n"]
        assert compare(engine, "f" * 64, None) == 0
