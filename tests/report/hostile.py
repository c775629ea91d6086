"""A history in which every name is an attack: markup, scripts, formulas, mathematics, escapes, bidirectional overrides, other bytes."""

from __future__ import annotations

from pathlib import Path

from tests.queries.lakes import Run, at, write_lake

SCRIPT = "<script>window.hacked=1</script>"
IMAGE = '"><img src=x onerror="window.hacked=2">'
LINKED = "[click](javascript:alert(1))`$x^2$`|<b>"
CONTROL = "\x1b]0;owned\x07\x1b[31mred\u202eevil\u2066"
MATHS = r"$\frac{1}{0}$_{x}"
LAYER = "e" * 64


def write_hostile(path: Path, *others: Run) -> Path:
    """Write the lake at ``path``, with ``others`` beside it."""
    run = Run(node=IMAGE, store=f"/srv/{SCRIPT}")
    owner = {"k8s_pod_name": IMAGE, "k8s_namespace_name": SCRIPT, "container_name": LINKED, "container_id": CONTROL}
    run.start(0.5)
    run.link("layer_record", "created", LAYER, (10.0, 11.0), layer_id=LAYER, file_path=f"overlay/{SCRIPT}", **owner)
    run.link("layer_directory", "created", LAYER, (10.0, 11.0), layer_id=LAYER, file_path=f"overlay/{CONTROL}", **owner)
    for number, name in enumerate((SCRIPT, IMAGE, LINKED, CONTROL, MATHS)):
        run.link("symlink", "created", name, (12.0 + number, 13.0 + number), target=name, layer_id=LAYER, file_path=f"x/{name}", **owner)
        said = {"message": f"layer {name} leaks", "advice": f"Safe to remove. Next: rm {name}", "evidence": f'{{"name":"{number}"}}'}
        run.finding("opened", "unaccounted-layer", name, (20.0 + number, 21.0 + number), bytes=1000 * (number + 1), **said, **owner)
    for step in range(5):
        run.usage("layer", LAYER, (30.0 + step, 31.0 + step), 1_000_000 * (step + 1), role="container", **owner)
    run.usage("filesystem", SCRIPT, (40.0, 41.0), 5, capacity_bytes=10, available_bytes=5, capacity_inodes=0, available_inodes=0)
    run.coverage("gap", (50.0, 60.0), cause="overflow", message=SCRIPT, gap_id="g")
    run.vouch(3600.0, since=0.5)
    return write_lake(path, [run, *others])


HOSTILE_TIME = (at(0), at(3600))
