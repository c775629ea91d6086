"""Metrics and health of the real programs on a real store."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from linktrail.telemetry.table import BY_NAME, COLLECTOR, METRICS, PROCESSOR
from tests.operate.scrape import Scraped, free_port, get, program, ready, scrape, until
from tests.recorder.playground import Playground, layer_id, short_name

STORE = ("store", "containers_storage")


def require_as_declared(found: Scraped, program_name: str) -> None:
    """Compare a live scrape with the table: every name and label of it is declared, and of this program."""
    for name, samples in found.items():
        if name.startswith(("process_", "python_")):
            continue
        metric = BY_NAME[name]
        assert program_name in metric.programs, name
        assert all(tuple(sorted(metric.labels)) == tuple(label for label, _ in labels) for labels in samples), name


def test_both_programs_tell_what_they_do(tmp_path: Path) -> None:
    """A store is recorded and committed: events, findings, watches, spool, commits and lag are as they are; nothing hostile is in it."""
    store = Playground.filled(tmp_path / "store", layers=4)
    hostile = 'x"}\nlinktrail_ready 7\n\x1b[31m'
    store.link(hostile, "../nowhere/diff")
    state, collector, processor = tmp_path / "state", f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    recording = ["collect", str(store.root), "--state", str(state), "--metrics", collector, "--log-format", "json", "--min-age", "0"]
    committing = ["process", "--state", str(state), "--metrics", processor, "--log-format", "json", "--flush-after", "0.2"]
    with program(recording, tmp_path / "log"), program(committing, tmp_path / "log2"):
        until(lambda: ready(collector), what="the collector is ready")
        store.link(short_name(900), f"../{layer_id(0)}/diff")
        created = (("action", "created"), ("kind", "short_link"), STORE)
        until(lambda: created in scrape(collector)["linktrail_events_total"], what="the event is counted")
        until(lambda: bool(scrape(collector).get("linktrail_findings")), what="a finding is open")
        until(lambda: ready(processor), what="the processor is ready")
        until(lambda: scrape(processor).get("linktrail_processor_rows_total", {(): 0})[()] > 10, what="rows are committed")
        until(lambda: scrape(collector)["linktrail_spool_pending_batches"][()] < 3, what="the spool is drained")
        found, told = scrape(collector), scrape(processor)
        require_as_declared(found, COLLECTOR)
        require_as_declared(told, PROCESSOR)
        assert found["linktrail_ready"] == found["linktrail_live"] == told["linktrail_ready"] == told["linktrail_live"] == {(): 1.0}
        assert found["linktrail_watches"][()] >= 5
        assert found["linktrail_watches_limit"][()] >= found["linktrail_watches"][()]
        assert found["linktrail_spool_bytes"][()] > 0
        assert abs(found["linktrail_last_reconcile_timestamp_seconds"][(STORE,)] - time.time()) < 60
        facts = os.statvfs(store.root)
        assert found["linktrail_filesystem_size_bytes"][(STORE,)] == facts.f_blocks * facts.f_frsize
        assert told["linktrail_processor_commits_total"][()] >= 1
        assert told["linktrail_processor_lag_batches"][()] < 5
        for address in (collector, processor):
            text = get(address, "/metrics")[1]
            assert "nowhere" not in text
            assert "\x1b" not in text
            assert layer_id(0)[:12] not in text
            assert str(store.root) not in text
            assert get(address, "/livez") == (200, "ok\n")
            assert get(address, "/etc/passwd")[0] == 404
    for log in ("log", "log2"):
        for line in (tmp_path / log).read_text(encoding="ascii").splitlines():
            assert {"time", "level", "program", "logger", "message"} <= set(json.loads(line))


def test_not_ready_while_a_store_is_gone(tmp_path: Path) -> None:
    """Readiness is false, with the reason, while a store cannot be read, and true again afterwards; the gap is counted by its cause."""
    store = Playground.filled(tmp_path / "store")
    address = f"127.0.0.1:{free_port()}"
    with program(["collect", str(store.root), "--state", str(tmp_path / "state"), "--metrics", address], tmp_path / "log"):
        until(lambda: ready(address), what="ready")
        store.root.rename(tmp_path / "away")
        until(lambda: get(address, "/readyz")[0] == 503, what="not ready")
        assert "containers_storage" in get(address, "/readyz")[1]
        assert scrape(address)["linktrail_ready"] == {(): 0.0}
        (tmp_path / "away").rename(store.root)
        until(lambda: ready(address), what="ready again")
        reasons = {labels[0][1] for labels in scrape(address)["linktrail_gaps_total"]}
        assert reasons & {"unreadable", "root-replaced"}


def test_not_ready_while_brokers_are_away(tmp_path: Path) -> None:
    """Brokers that nothing reaches: not ready after the bound, failures counted by class; the collector records on and lives."""
    store = Playground.filled(tmp_path / "store")
    address, file = f"127.0.0.1:{free_port()}", tmp_path / "linktrail.toml"
    file.write_text(f'[collect]\nmetrics = "{address}"\nbroker_limit = "0.5"\n[kafka]\nbrokers = ["127.0.0.1:{free_port()}"]\n')
    words = ["collect", str(store.root), "--state", str(tmp_path / "state"), "--config", str(file)]
    with program(words, tmp_path / "log"):
        until(lambda: _answers(address), what="it answers")
        until(lambda: bool(scrape(address).get("linktrail_send_failures_total")), what="a failure is counted")
        until(lambda: "brokers" in get(address, "/readyz")[1], what="not ready")
        found = scrape(address)
        assert set(found["linktrail_send_failures_total"]) == {(("reason", "BrokerError"),)}
        assert found["linktrail_spool_oldest_event_timestamp_seconds"][()] <= time.time()
        assert found["linktrail_spool_pending_batches"][()] >= 1
        assert get(address, "/livez")[0] == 200


def _answers(address: str) -> bool:
    try:
        return get(address, "/livez")[0] in {200, 503}
    except OSError:
        return False


def test_the_table_is_sound() -> None:
    """Names as Prometheus wants them, and no label that could hold what is read from a disk."""
    assert len(BY_NAME) == len(METRICS)
    for metric in METRICS:
        assert metric.name.startswith("linktrail_")
        assert metric.name.endswith("_total") == (metric.kind == "counter"), metric.name
        assert set(metric.labels) <= {"store", "kind", "action", "reason", "version", "schema"}
