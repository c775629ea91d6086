"""A certificate authority for one test run, by openssl: PEM files for the broker and for a client."""

from __future__ import annotations

import subprocess
from pathlib import Path

KEY_PASSWORD = "of-a-key"  # noqa: S105 - of keys that live for one test run
_DAYS = "2"


def make_certificates(directory: Path) -> Path:
    """Make ``ca.pem``, ``server.pem`` (key and certificate) and ``client.pem`` with ``client.key`` below ``directory``; return it.

    ``client-locked.key`` is the same key, encrypted with ``KEY_PASSWORD``.
    """
    directory.mkdir(parents=True)
    _openssl(
        directory,
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        _DAYS,
        "-subj",
        "/CN=tests",
        "-keyout",
        "ca.key",
        "-out",
        "ca.pem",
    )
    for name in ("server", "client"):
        (directory / "extensions").write_text("subjectAltName=IP:127.0.0.1\n", encoding="ascii")
        _openssl(directory, "req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        signing = ("-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", _DAYS)
        _openssl(directory, "x509", "-req", *signing, "-extfile", "extensions", "-out", f"{name}.pem")
        (directory / f"{name}.key").chmod(0o600)
    _openssl(directory, "pkcs8", "-topk8", "-in", "client.key", "-out", "client-locked.key", "-passout", f"pass:{KEY_PASSWORD}")
    (directory / "client-locked.key").chmod(0o600)
    both = (directory / "server.key").read_text() + (directory / "server.pem").read_text()
    (directory / "server.pem").write_text(both)
    return directory


def _openssl(directory: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=directory, capture_output=True, check=True)
