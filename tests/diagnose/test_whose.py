"""Whose every layer is: ``check --whose`` on stores of real engines, and a pod's layers from directory to pod and back."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from collector.check import run_check
from collector.check_view import render
from collector.stores.containerd import DRIVER
from collector.whose import whose
from linktrail.command import main
from linktrail.testing.clock import FakeClock
from tests.containerd.build import Store, chain
from tests.needs import need
from tests.stores import unpack

LOWEST = "sha256:5178d4dddda32eff399984791eec9a767ab899820c289a0bf67eb099d61738c2"
POD = {"io.cri-containerd.kind": "container", "io.kubernetes.pod.name": "web-0", "io.kubernetes.pod.namespace": "shop"}


def test_a_directory_of_containerd_leads_to_image_and_container(tmp_path: Path) -> None:
    """Number, key, chain id, image, containers, also of what is lost, half unpacked, or without a record."""
    need("fixtures")
    survey = DRIVER.survey(unpack("containerd16-leaky", tmp_path), clock=FakeClock())
    rows = {row.directory: row for row in whose(survey)}
    assert list(rows) == ["110", "111", "112", "114", "115", "116", "117", "119", "120", "122", "999"]
    lowest = rows["110"]
    assert (lowest.layer, lowest.names) == (f"default/115/{LOWEST}", [LOWEST])
    assert list(lowest.images.values()) == [["localhost/lab/base:1"]]
    assert [container.id for container in lowest.containers] == ["k1", "k2"]
    assert (rows["115"].layer, rows["115"].path) == ("default/122/k2", None)
    assert rows["117"].owner.container_image_name == "docker.io/lab/big:1"
    assert (rows["999"].layer, rows["999"].path) == (None, "io.containerd.snapshotter.v1.overlayfs/snapshots/999")


def test_a_shared_layer_names_all_that_share_it(tmp_path: Path) -> None:
    """Two images over one base and a pod on one of them, in the document and in the table."""
    store = Store(tmp_path / "root")
    store.snapshot(chain("base"))
    store.snapshot(chain("one"), chain("base"))
    store.snapshot(chain("two"), chain("base"))
    store.image("registry.example/one:1", [chain("base"), chain("one")])
    store.image("registry.example/two:1", [chain("base"), chain("two")])
    store.container("c1", "registry.example/one:1", chain("one"), labels=POD)
    store.commit()
    report = run_check([tmp_path / "root"], clock=FakeClock())
    (document,) = report.document(owners=True)["stores"]
    base = document["whose"][0]
    assert {name for image in base["images"] for name in image["names"]} == {"registry.example/one:1", "registry.example/two:1"}
    assert base["containers"] == [{"id": "c1", "name": None, "pod": "web-0", "namespace": "shop"}]
    assert document["whose"][3]["owner"]["k8s_pod_name"] == "web-0"
    assert "whose" not in report.document()["stores"][0]
    stream = io.StringIO()
    render(report, stream, owners=True)
    line = next(line for line in stream.getvalue().splitlines() if line.startswith("1 "))
    assert all(word in line for word in (chain("base"), "registry.example/one:1 registry.example/two:1", "c1", "shop/web-0"))


def test_containers_storage_has_it_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command, on podman's store: directories are ids there."""
    root = unpack("e00_healthy", tmp_path)
    main(["check", "--whose", "--json", str(root)])
    (store,) = json.loads(capsys.readouterr().out)["stores"]
    assert {row["directory"] == row["layer"] for row in store["whose"]} == {True}
    assert any(row["containers"] for row in store["whose"])
    assert any(row["images"] for row in store["whose"])
