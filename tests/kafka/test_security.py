"""Who may come in: TLS, certificates on both sides, SCRAM and OAUTHBEARER against the real broker; secrets from files alone."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path

import pytest

from linktrail.broker import Connection
from linktrail.errors import BrokerError, SecretFileError, UsageError
from tests.kafka.broker import SCRAM, SECRET, USER, Node
from tests.kafka.certificates import KEY_PASSWORD
from tests.kafka.conftest import new_topics
from tests.kafka.history import Issuer, check, find
from tests.kafka.running import process_all, ship, shipping, until


def _secret(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def _token() -> str:
    """Return an unsecured JWT, as the test broker takes it."""
    now = int(time.time())
    parts = ({"alg": "none"}, {"sub": "collector", "iat": now - 10, "exp": now + 600})
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts) + "."


def _settings(kind: str, node: Node, tmp_path: Path) -> tuple[str, list[str]]:
    certificates = node.path.parent / "certificates"
    ca = f"ca-file={certificates / 'ca.pem'}"
    if kind == "mutual TLS":
        return node.listener("MUTUAL"), [ca, f"certificate-file={certificates / 'client.pem'}", f"key-file={certificates / 'client.key'}"]
    if kind == "mutual TLS, key locked":
        words = [f"key-password-file={_secret(tmp_path / 'key-password', KEY_PASSWORD)}", f"key-file={certificates / 'client-locked.key'}"]
        return node.listener("MUTUAL"), [ca, f"certificate-file={certificates / 'client.pem'}", *words]
    if kind in SCRAM:
        password = _secret(tmp_path / "password", SECRET + "\n")
        return node.listener("SASL"), [ca, f"sasl-mechanism={kind}", f"username={USER}", f"password-file={password}"]
    token = _secret(tmp_path / "token", _token())
    return node.listener("SASL"), [ca, "sasl-mechanism=OAUTHBEARER", f"token-file={token}"]


@pytest.mark.parametrize("kind", ["mutual TLS", "mutual TLS, key locked", *SCRAM, "OAUTHBEARER"])
def test_the_whole_way_with(tmp_path: Path, node: Node, kind: str) -> None:
    """Shipped, committed and dead letters read by a connection of this kind; without its secret nobody comes in."""
    plain = new_topics(node.address)
    address, stated = _settings(kind, node, tmp_path)
    topics = [f"topic={plain.settings.topic}", f"dead-letter-topic={plain.settings.dead_letter_topic}"]
    connection = Connection.of(address, [*stated, *topics], {})
    issuer = Issuer(tmp_path / "spool")
    issuer.issue(8)
    ship(issuer, connection)
    process_all(tmp_path / "lake", connection)
    check(find(tmp_path / "lake", connection), issuer)
    without = Connection.of(address, [stated[0], *topics], {})
    with pytest.raises(BrokerError):
        process_all(tmp_path / "lake", without)


def test_a_wrong_password_is_said(tmp_path: Path, node: Node) -> None:
    """One clear error that names no secret."""
    address, stated = _settings(SCRAM[0], node, tmp_path)
    _secret(tmp_path / "password", "something else")
    with pytest.raises(BrokerError) as caught:
        process_all(tmp_path / "lake", Connection.of(address, stated, {}))
    assert "something else" not in caught.value.message


def test_a_secret_that_changes_is_taken_up(tmp_path: Path, node: Node) -> None:
    """A shipper whose password is wrong waits, with its spool; once the file has the right one all is shipped, without a restart."""
    address, stated = _settings(SCRAM[1], node, tmp_path)
    _secret(tmp_path / "password", "that of last year")
    topic = new_topics(node.address).settings.topic
    issuer = Issuer(tmp_path / "spool")
    issuer.issue(4)
    with shipping(issuer.path, Connection.of(address, [*stated, f"topic={topic}"], {})) as at_work:
        until(lambda: at_work.status.failures.get("BrokerError", 0) >= 1, 30, lambda: f"it is refused: {at_work.status}")
        assert issuer.spool.acknowledged() == 0
        _secret(tmp_path / "password", SECRET)
        until(lambda: issuer.spool.acknowledged() == 4, 30, lambda: f"shipped: {at_work.status}")


@pytest.mark.parametrize("mode", [0o604, 0o644, 0o602])
@pytest.mark.parametrize("name", ["password-file", "token-file", "key-file", "key-password-file"])
def test_a_secret_that_everybody_can_read_is_refused(tmp_path: Path, mode: int, name: str) -> None:
    """Whatever secret it is; a group of one's own may read it."""
    good = _secret(tmp_path / "good", "x", 0o640)
    bad = _secret(tmp_path / "bad", "x", mode)
    files = dict.fromkeys(("password-file", "token-file", "key-file", "key-password-file"), good) | {name: bad}
    mechanism = "OAUTHBEARER" if name == "token-file" else "SCRAM-SHA-256"
    stated = [f"{one}={path}" for one, path in files.items()]
    connection = Connection.of(
        "a:1", [*stated, f"certificate-file={good}", f"ca-file={good}", f"sasl-mechanism={mechanism}", "username=u"], {}
    )
    with pytest.raises(SecretFileError, match="everybody on this machine"):
        connection.options()


@pytest.mark.parametrize(
    ("content", "what"), [(None, "No such file"), (b"", "empty"), (b"\n", "empty"), (b"\xff\xfe", "not text"), (b"x" * 70_000, "too large")]
)
def test_a_file_that_holds_no_secret_is_one_clear_error(tmp_path: Path, content: bytes | None, what: str) -> None:
    """With its path, and not its content."""
    path = tmp_path / "password"
    if content is not None:
        path.write_bytes(content)
        path.chmod(0o600)
    connection = Connection.of("a:1", ["sasl-mechanism=SCRAM-SHA-512", "username=u", f"password-file={path}"], {})
    with pytest.raises(SecretFileError, match=what):
        connection.options()


@pytest.mark.parametrize(
    "stated",
    [
        ["sasl-mechanism=PLAIN"],
        ["sasl-mechanism=SCRAM-SHA-512", "username=u"],
        ["sasl-mechanism=OAUTHBEARER", "tls=yes"],
        ["sasl-mechanism=OAUTHBEARER", "token-file=/x"],
        ["certificate-file=/x"],
        ["password=secret"],
        ["tls=perhaps"],
        ["topic-per-node=ja"],
        ["nonsense"],
    ],
)
def test_what_contradicts_itself_is_a_usage_error(stated: list[str]) -> None:
    """Nothing is tried with half a configuration, no token is sent in the clear, and no secret stands on a command line."""
    with pytest.raises(UsageError):
        Connection.of("a:1", stated, {})


@pytest.mark.parametrize("brokers", ["", "a", "a:", "a:x", ":1", "a:1,b", "a:70000"])
def test_what_is_no_address_is_a_usage_error(brokers: str) -> None:
    """HOST:PORT, each of them."""
    with pytest.raises(UsageError):
        Connection.of(brokers, [], {})


def test_the_command_line_wins_over_the_environment() -> None:
    """LINKTRAIL_KAFKA_* where nothing is stated."""
    environment = {"LINKTRAIL_KAFKA_TOPIC": "from.environment", "LINKTRAIL_KAFKA_CA_FILE": "/ca", "UNRELATED": "x"}
    settings = Connection.of("a:1, b:2", ["topic=from.line"], environment).settings
    assert (settings.topic, settings.ca_file) == ("from.line", "/ca")
    assert Connection.of("a:1, b:2", [], environment).brokers == ("a:1", "b:2")
