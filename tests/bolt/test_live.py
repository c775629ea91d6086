from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from linktrail.errors import StoreUnstableError
from tests.bolt.helpers import plain, read

SECONDS = 30.0  # at most; some tenths of one, where nothing else runs
REPOSITORY = Path(__file__).resolve().parent.parent.parent
WRITER = """
import sys
import time
from pathlib import Path
from tests.bolt.writer import Writer
writer = Writer(Path(sys.argv[1]), 512)
turn = 0
while True:
    turn += 1
    for name in (b"left", b"right"):
        bucket = writer.root.bucket(name)
        for place in range(40):
            bucket.put(b"%04d" % ((turn * 7 + place * 13) % 300), b"x" * (turn % 90))
        bucket.put(b"turn", b"%d" % turn)
    writer.root.put(b"pad", b"y" * (turn * 37 % 2000))
    writer.commit()
    time.sleep(turn % 8 / 1000)
    if turn == 1:
        print("ready", flush=True)
"""


def test_a_reader_beside_a_writer_in_another_process_sees_whole_transactions_only(tmp_path: Path) -> None:
    """Pages are used again at once, transactions end every few milliseconds: whatever is accepted must be one of them, in order."""
    path = tmp_path / "x.db"
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], cwd=REPOSITORY, stdout=subprocess.PIPE) as writer:
        try:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"ready\n"
            turns, accepted, refused = [0], 0, 0
            image = None
            until = time.monotonic() + SECONDS
            while (accepted < 60 or len(set(turns)) < 20) and time.monotonic() < until:
                try:
                    image = read(path, image if accepted % 3 else None)
                except StoreUnstableError:
                    refused += 1
                    continue
                accepted += 1
                content = plain(image.root)
                assert content[b"left"] == content[b"right"]
                turns.append(int(content[b"left"][b"turn"]))
                assert image.txid == turns[-1] + 1
            assert turns == sorted(turns)
            assert accepted >= 60, f"{accepted} readings, {refused} refused, {len(set(turns))} transactions"
        finally:
            writer.kill()
