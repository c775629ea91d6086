"""One hour of a node, as a lake.

An image and a container are there; another container comes, crashes and leaks its layer; the node boots; somebody cleans up.
"""

from __future__ import annotations

from pathlib import Path

from tests.queries.lakes import BOOT, STORE, Run, at, write_lake

BASE, TOP, OLD, LEAKED = (digit * 64 for digit in "abc4")
IMAGE = "1" * 64
SERVER, CRASHED = "5" * 64, "6" * 64
SHORT = "ABCDEFGHIJKLMNOPQRSTUVWX23"
SECOND_RUN = "20261123T163500Z-bbbbbbbb"
SECOND_BOOT = BOOT.replace("0001", "0002")
_FIRST = {"origin": "baseline"}
_SERVER = {
    "container_id": SERVER,
    "container_name": "server",
    "container_image_name": "docker.io/library/nginx:1",
    "container_image_id": IMAGE,
}
_CRASHED = {
    "container_id": CRASHED,
    "container_name": "worker",
    "k8s_pod_name": "worker-0",
    "k8s_namespace_name": "jobs",
    "container_image_id": IMAGE,
}


def write_story(path: Path) -> Path:
    """Write the lake of the story at ``path``."""
    return write_lake(path, [first_run(), second_run()])


def first_run() -> Run:
    """Return the first half hour."""
    run = Run()
    when = (None, 1.0)
    for layer, parent in ((BASE, None), (TOP, BASE), (OLD, TOP)):
        run.link("layer_record", "observed", layer, when, layer_id=layer, file_path="overlay-layers/layers.json", **_FIRST)
        run.link("layer_directory", "observed", layer, when, layer_id=layer, file_path=f"overlay/{layer}", **_FIRST)
        if parent:
            run.link(
                "parent_pointer", "observed", layer, when, target=parent, layer_id=layer, file_path="overlay-layers/layers.json", **_FIRST
            )
    run.link("image_name", "observed", "docker.io/library/nginx:1", when, target=IMAGE, file_path="overlay-images/images.json", **_FIRST)
    run.link("image_layer", "observed", IMAGE, when, target=TOP, file_path="overlay-images/images.json", **_FIRST)
    run.link(
        "container_layer",
        "observed",
        SERVER,
        when,
        target=OLD,
        layer_id=OLD,
        file_path="overlay-containers/containers.json",
        **_FIRST,
        **_SERVER,
    )
    run.start(0.5)
    run.vouch(600.0, since=0.5)
    run.usage("layer", BASE, (2.0, 2.1), 70_000_000, role="image", apparent_bytes=69_000_000, recorded_bytes=69_500_000, inodes=4000)
    run.usage("layer", TOP, (2.1, 2.2), 3_000_000, role="image", apparent_bytes=2_900_000, recorded_bytes=2_900_000, inodes=30)
    run.usage("layer", OLD, (2.2, 2.3), 40_960, role="container", inodes=9, **_SERVER)
    run.usage(
        "filesystem", "/srv", (2.3, 2.4), 500_000_000, capacity_bytes=1_000_000_000, available_bytes=500_000_000, capacity_inodes=65_536
    )
    run.usage("store", STORE, (2.3, 2.4), 73_040_960)
    born = (600.0, 600.2)
    run.link("layer_directory", "created", LEAKED, born, layer_id=LEAKED, file_path=f"overlay/{LEAKED}", **_CRASHED)
    run.link("short_link", "created", SHORT, born, target=f"../{LEAKED}/diff", layer_id=LEAKED, file_path=f"overlay/l/{SHORT}", **_CRASHED)
    run.link("link_file", "created", LEAKED, born, target=SHORT, layer_id=LEAKED, file_path=f"overlay/{LEAKED}/link", **_CRASHED)
    run.link(
        "lower_reference",
        "created",
        LEAKED,
        born,
        target="l/TOPSHORT:l/BASESHORT",
        layer_id=LEAKED,
        file_path=f"overlay/{LEAKED}/lower",
        **_CRASHED,
    )
    run.link("layer_record", "created", LEAKED, (600.1, 600.3), layer_id=LEAKED, file_path="overlay-layers/layers.json", **_CRASHED)
    run.link(
        "parent_pointer", "created", LEAKED, (600.1, 600.3), target=TOP, layer_id=LEAKED, file_path="overlay-layers/layers.json", **_CRASHED
    )
    run.link(
        "container_layer",
        "created",
        CRASHED,
        (600.3, 600.4),
        target=LEAKED,
        layer_id=LEAKED,
        file_path="overlay-containers/containers.json",
        **_CRASHED,
    )
    run.usage("layer", LEAKED, (601.0, 601.1), 1_000_000, role="container", inodes=5, **_CRASHED)
    run.usage("layer", LEAKED, (901.0, 901.1), 9_000_000, role="container", inodes=50, **_CRASHED)
    gone = (1200.0, 1200.5)
    run.link(
        "container_layer",
        "removed",
        CRASHED,
        gone,
        previous_target=LEAKED,
        layer_id=LEAKED,
        file_path="overlay-containers/containers.json",
        **_CRASHED,
    )
    run.link("layer_record", "removed", LEAKED, gone, layer_id=LEAKED, file_path="overlay-layers/layers.json", **_CRASHED)
    run.link(
        "parent_pointer", "removed", LEAKED, gone, previous_target=TOP, layer_id=LEAKED, file_path="overlay-layers/layers.json", **_CRASHED
    )
    run.vouch(1260.0, since=600.0)
    said = {
        "since_after": at(1200.0),
        "since_before": at(1200.5),
        "file_path": f"overlay/{LEAKED}",
        "related": f'["{TOP}"]',
        "message": f"layer directory {LEAKED} has no record",
        "advice": "Safe to remove if nothing has it mounted.",
        **_CRASHED,
    }
    run.finding("opened", "unaccounted-layer", LEAKED, (1800.0, 1800.5), bytes=9_000_000, **said)
    run.finding("changed", "unaccounted-layer", LEAKED, (1860.0, 1860.5), bytes=12_000_000, severity="error", **said)
    run.vouch(1980.0, since=1260.0)
    return run


def second_run() -> Run:
    """Return the second half hour, after a reboot."""
    run = Run(SECOND_RUN, boot=SECOND_BOOT)
    run.coverage("gap", (1980.0, 2100.0), cause="restart", message="linktrail was not running", gap_id="g1")
    run.start(2099.0)
    run.usage(
        "filesystem",
        "/srv",
        (2101.0, 2101.1),
        520_000_000,
        capacity_bytes=1_000_000_000,
        available_bytes=480_000_000,
        capacity_inodes=65_536,
    )
    run.vouch(3000.0, since=2099.0)
    cleaned = (3000.0, 3000.5)
    run.link(
        "short_link",
        "removed",
        SHORT,
        cleaned,
        previous_target=f"../{LEAKED}/diff",
        layer_id=LEAKED,
        file_path=f"overlay/l/{SHORT}",
        **_CRASHED,
    )
    run.link("layer_directory", "removed", LEAKED, cleaned, layer_id=LEAKED, file_path=f"overlay/{LEAKED}", **_CRASHED)
    run.finding("closed", "unaccounted-layer", LEAKED, (3000.0, 3001.0), bytes=12_000_000, severity="error", message="gone", **_CRASHED)
    run.link(
        "short_link",
        "retargeted",
        "TOPSHORT",
        (3100.0, 3100.2),
        target=f"../{TOP}/diff",
        previous_target=f"../{BASE}/diff",
        layer_id=TOP,
        file_path="overlay/l/TOPSHORT",
    )
    run.vouch(3600.0, since=3000.0)
    return run
