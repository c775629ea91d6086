from __future__ import annotations

import base64
import gzip
import json
import resource
import tarfile
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.fuzz.__main__ import main
from tests.fuzz.targets import TARGETS

PIECES = (
    *(b"\0", b"\xff", b"\n", b'"', b"../", b"\x7f" * 9),
    *(b"-1", b"9" * 25, b"1e999", b"[" * 200, b'{"a":' * 100, b"\\777", b"\\ud800", b"Infinity"),
)
MUTATION = st.tuples(
    st.sampled_from(["set", "insert", "remove", "repeat"]),
    st.integers(0, 1 << 20),
    st.sampled_from(PIECES),
    st.integers(1, 64),
)


def header(kind: bytes, size: int) -> bytes:
    """Return one tar header of this type that claims ``size`` bytes, followed by as many of them as fit in a block."""
    member = tarfile.TarInfo("PaxHeaders/x")
    member.type, member.size = kind, size
    return member.tobuf(tarfile.GNU_FORMAT) + b"9 path=x\n".ljust(512, b"\0")


def tar_split_of(archive: bytes) -> bytes:
    """Return a tar-split that is all raw bytes and then an exabyte of content."""
    lines = [{"type": 2, "payload": base64.b64encode(archive).decode()}, {"type": 1, "name": "a", "size": 1 << 60}]
    return gzip.compress("\n".join(json.dumps(line) for line in lines).encode())


def address_space() -> int:
    """Return how much address space this process has now, in bytes."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()


def mutate(seed: bytes, mutations: list[tuple[str, int, bytes, int]]) -> bytes:
    """Return ``seed`` with ``mutations``, one after the other."""
    data = bytearray(seed)
    for how, place, piece, width in mutations:
        at = place % (len(data) + 1)
        if how == "set":
            data[at : at + len(piece)] = piece
        elif how == "insert":
            data[at:at] = piece
        elif how == "remove":
            del data[at : at + width]
        else:
            data[at:at] = data[at : at + width] * 8
    return bytes(data)


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_are_understood(name: str) -> None:
    """Otherwise the mutations would test nothing: a seed does not end in the error that is let pass."""
    seeds = TARGETS[name].seeds()
    assert seeds
    assert [TARGETS[name].run(seed) for seed in seeds] == [True] * len(seeds)


def test_a_corpus_begins_with_the_seeds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The program for long runs writes what it begins with; without a target it names them all."""
    assert main(["fuzz", "mountinfo", "--seeds", str(tmp_path)]) == 0
    assert [TARGETS["mountinfo"].run(path.read_bytes()) for path in tmp_path.iterdir()] == [True]
    assert main(["fuzz"]) == 2
    assert set(TARGETS) <= set(capsys.readouterr().out.split())


TRAPS = {
    "an infinite number": b'{"spool": "x", "next": 1e999, "format": 1e999, "id": 1}',
    "nested without end": b"[" * 200_000,
    "objects without end": b'{"a":' * 200_000,
    "a number without end": b'{"format": ' + b"9" * 10_000 + b"}",
    "a gzip bomb": gzip.compress(bytes(32 << 20), 9),
    "a zstd bomb": zstandard.compress(bytes(32 << 20), 3),
    "one long line": b'{"type":2,"payload":"' + b"A" * (9 << 20),
    "an exabyte": b'{"type":1,"name":"a","size":1152921504606846976,"payload":""}\n' * 3,
    "an extended header of an exabyte": gzip.decompress(tar_split_of(header(b"x", 1 << 40))),
    "a blob with that header": header(b"x", 1 << 40),
    "headers of headers": header(b"x", 512) * 3000,
    "long names of long names": header(b"L", 512) * 3000,
    "sparse without end": header(b"S", 1 << 33) + bytes(1 << 16),
}


@pytest.mark.parametrize("name", TARGETS)
def test_known_traps(name: str) -> None:
    """Bombs, exabytes and nests, given to every parser: a no at once, in little memory (the process may take one GiB more, no further)."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (address_space() + (1 << 30), before[1]))
    try:
        for trap in TRAPS.values():
            TARGETS[name].run(trap)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.parametrize("name", TARGETS)
def test_no_mutation_brings_more_than_a_typed_error(name: str) -> None:
    """Bytes set, added, removed and repeated anywhere in what is really written."""
    target = TARGETS[name]

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.sampled_from(target.seeds()), st.lists(MUTATION, min_size=1, max_size=5), st.none() | st.integers(0, 1 << 16))
    @example(target.seeds()[0], [], 0)
    def run(seed: bytes, mutations: list[tuple[str, int, bytes, int]], cut: int | None) -> None:
        data = mutate(seed, mutations)
        target.run(data if cut is None else data[: cut % (len(data) + 1)])

    run()


@pytest.mark.parametrize("name", TARGETS)
def test_no_bytes_bring_more_than_a_typed_error(name: str) -> None:
    """Noise."""

    @settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.binary(max_size=400))
    def run(data: bytes) -> None:
        TARGETS[name].run(data)

    run()
