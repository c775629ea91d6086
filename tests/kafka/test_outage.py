"""An outage of Kafka with the real programs: the collector fills its spool, keeps links longest, and states what it left out.

The processor says that nothing answers.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, Final

import pytest

from collector.spool_reader import SpoolReader
from linktrail.command import main
from linktrail.durable import LocalFileSystem
from linktrail.testing.containers_storage import StoreBuilder, finish
from processor.lake import Lake
from tests.kafka.broker import Node
from tests.kafka.conftest import new_topics
from tests.kafka.proxy import Proxy
from tests.kafka.running import process_all, shipping, until
from tests.operate.scrape import free_port, get, program, ready, scrape

LIMIT: Final = 100_000


def test_an_outage_until_the_spool_is_full(tmp_path: Path, node: Node, proxy: Proxy, capsys: pytest.CaptureFixture[str]) -> None:
    """Layers appear until the spool takes nothing more, and beyond; afterwards every one is in the lake, and the sizes are a gap."""
    connection = new_topics(node.address)
    settings, state, lake = tmp_path / "linktrail.toml", tmp_path / "state", tmp_path / "lake"
    settings.write_text(
        f'cluster = "c"\nnode = "n"\n[collect]\nspool_limit = "{LIMIT}"\nfilesystem_interval = "1"\n'
        f'[kafka]\nbrokers = ["{node.proxied}"]\ntopic = "{connection.settings.topic}"\n'
    )
    finish(StoreBuilder(tmp_path / "store").open_store())

    def status() -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads((state / "status.json").read_text())
        except FileNotFoundError:
            return {"spool_bytes": 0, "spool_full": None, "spool_acknowledged": 0}
        return found

    def layer(number: int) -> str:
        """Make a layer with something to be measured, and return its id."""
        made = tmp_path / "store" / "overlay" / f"{number:064x}"
        (made / "diff").mkdir(parents=True)
        (made / "diff" / "file").write_bytes(bytes(5_000))
        return made.name

    words = ["collect", str(tmp_path / "store"), "--state", str(state), "--config", str(settings)]
    with program(words, tmp_path / "log"):
        until(lambda: status()["spool_acknowledged"] > 0, 40, "the baseline is shipped")
        proxy.mode = "refuse"
        proxy.cut()
        layers = [layer(0)]
        while status()["spool_full"] is None:
            layers.append(layer(len(layers)))
            time.sleep(0.02)
            assert len(layers) < 3000
        layers.extend(layer(number) for number in range(len(layers), len(layers) + 50))
        time.sleep(3)
        assert status()["spool_bytes"] <= LIMIT
        until(lambda: not status()["shipping"]["ready"], 40, "it is told when a request has taken 30 s")
        proxy.mode = "pass"
        until(lambda: status()["spool_full"] is None, 60, lambda: f"it goes on by itself: {status()}")
        until(lambda: status()["spool_acknowledged"] == status()["spool_next"], 60, lambda: f"it drains by itself: {status()}")
    spool = SpoolReader(state / "spool", filesystem=LocalFileSystem())
    with shipping(spool.path, connection):  # what a collector seals as it ends may wait in the spool for the next one
        until(lambda: spool.acknowledged() == spool.offsets()[-1] + 1)
    process_all(lake, connection)
    rows = Lake.open(lake).read("links").to_pylist()
    assert {row["layer_id"] for row in rows if row["link_kind"] == "layer_directory"} >= set(layers)
    gaps = [row for row in Lake.open(lake).read("coverage").to_pylist() if row["kind"] == "gap"]
    assert {gap["cause"] for gap in gaps} == {"contents-blocked"}
    assert main(["verify", "--lake", str(lake)]) == 3, "all that was sealed is there, and the record says that it has a gap"
    assert "agree with what their collectors sealed" in capsys.readouterr().err


def test_a_processor_that_nothing_answers_is_not_ready(tmp_path: Path, node: Node, proxy: Proxy) -> None:
    """The broker accepts and is silent, so reading fails nowhere and nothing comes: that is told, and passes by itself."""
    connection, address, settings = new_topics(node.address), f"127.0.0.1:{free_port()}", tmp_path / "linktrail.toml"
    settings.write_text(f'[process]\nmetrics = "{address}"\n[kafka]\nbrokers = ["{node.proxied}"]\ntopic = "{connection.settings.topic}"\n')
    with program(["process", "--lake", str(tmp_path / "lake"), "--config", str(settings)], tmp_path / "log"):
        until(lambda: ready(address), 40, "it reads")
        proxy.mode = "blackhole"
        until(lambda: "cannot read the ends" in get(address, "/readyz")[1], 60, lambda: f"not ready: {get(address, '/readyz')}")
        assert "linktrail_processor_lag_batches" not in scrape(address), "a lag that is not known is not told"
        assert get(address, "/livez")[0] == 200
        proxy.mode = "pass"
        until(lambda: ready(address), 60, lambda: f"ready again: {get(address, '/readyz')}")
