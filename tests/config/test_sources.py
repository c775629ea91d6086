from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linktrail.command import main
from linktrail.config.file import read_file
from linktrail.config.resolve import Configuration
from linktrail.config.table import BY_ENV, LAKE_OPTION_ENV, SETTINGS
from linktrail.errors import ConfigFileError, ConfigValueError


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "linktrail.toml"
    file.write_text(text)
    return file


def test_a_variable_goes_over_the_file_and_the_file_over_the_default(tmp_path: Path) -> None:
    """And each value says where it is from; a variable that is set to nothing is not set."""
    file = written(tmp_path, 'cluster = "file"\nnode = "n"\n\n[collect]\nquiet = 1\nheartbeat = "2m"\nroots = ["/a", "/b b"]\n')
    found = Configuration.load(file, {"LINKTRAIL_CLUSTER": "variable", "LINKTRAIL_NODE": "", "PATH": "/"})
    said = {value.key: (value.text, value.origin) for value in found.values()}
    assert said["cluster"] == ("variable", "environment LINKTRAIL_CLUSTER")
    assert said["node"] == ("n", f"file {file}:2")
    assert said["collect.quiet"] == ("1", f"file {file}:5")
    assert said["collect.heartbeat"] == ("2m", f"file {file}:6")
    assert said["collect.roots"] == ("/a:/b b", f"file {file}:7")
    assert said["collect.max_delay"] == ("0.6", "default")
    assert said["collect.min_age"] == (None, "default")
    environment = {"LINKTRAIL_CLUSTER": "variable", "LINKTRAIL_NODE": ""}
    with found.applied(environment):
        assert environment["LINKTRAIL_CLUSTER"] == "variable"
        assert (environment["LINKTRAIL_NODE"], environment["LINKTRAIL_QUIET"]) == ("n", "1")
    assert environment == {"LINKTRAIL_CLUSTER": "variable", "LINKTRAIL_NODE": ""}


def test_which_file(tmp_path: Path) -> None:
    """The one named; the variable's; none when that is set to nothing. One that is named must be there."""
    file = written(tmp_path, 'cluster = "x"\n')
    assert Configuration.load(None, {"LINKTRAIL_CONFIG": str(file)}).path == file
    assert Configuration.load(None, {"LINKTRAIL_CONFIG": ""}).path is None
    with pytest.raises(ConfigFileError, match="cannot be read"):
        Configuration.load(tmp_path / "none", {})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("clustr = 1", "toml:1: unknown key clustr; did you mean cluster?"),
        ("\n[collect]\nmax_dealy = 3", "toml:3: unknown key collect.max_dealy; did you mean collect.max_delay?"),
        ('roots = ["/a"]', "toml:1: unknown key roots; did you mean collect.roots?"),
        ("[colect]\nquiet = 1", "toml:1: unknown key colect; did you mean collect?"),
        ("[zzz]\na = 1", "toml:1: unknown key zzz; known are log, collect"),
        ('[collect]\nheartbeat = "soon"', "toml:2: collect.heartbeat takes a duration such as"),
        ('[process]\nflush_rows = "12"', "toml:2: process.flush_rows takes a whole number, not '12'"),
        ("[process]\nflush_rows = 0", "takes a whole number, 1 or more"),
        ("[process]\nflush_rows = true", "takes a whole number"),
        ('[collect]\nroots = "/a\\u0000"', "takes a path"),
        ("[collect]\nroots = []", "takes a list of paths"),
        ('[collect]\nroots = ["/a:/b"]', "none with ':' in it"),
        ('[collect]\nmetrics = "9477"', "takes ADDRESS:PORT"),
        ('[log]\nlevel = "loud"', "takes one of debug, info, warning, error, not 'loud'"),
        ("[kafka]\ntls = 1", "takes true or false"),
        ('[kafka]\npassword = "hunter2"', "unknown key kafka.password; did you mean kafka.password_file?"),
        ('[lake_options]\naws_secret_access_key = "hunter2"', "write aws_secret_access_key_file with a path"),
        ("[lake_options]\nx = [1]", "takes a name of letters"),
        ("a = ", "it is not TOML"),
        ("log = 3", "unknown key log"),
    ],
)
def test_what_is_wrong_is_one_clear_error(tmp_path: Path, text: str, says: str) -> None:
    """With file and line, and what to do; never with a secret that was written where it should not be."""
    with pytest.raises(ConfigFileError) as caught:
        read_file(written(tmp_path, text))
    assert says in caught.value.message
    assert "hunter2" not in caught.value.message
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("LINKTRAIL_HEARTBEAT", "soon", "takes a duration"),
        ("LINKTRAIL_WATCH", "all", "takes one of inotify"),
        ("LINKTRAIL_LAKE_OPTION_AWS_SECRET_ACCESS_KEY", "hunter2", "LINKTRAIL_LAKE_OPTION_AWS_SECRET_ACCESS_KEY_FILE"),
    ],
)
def test_variables_are_checked_too(name: str, text: str, says: str) -> None:
    """Before a program starts."""
    with pytest.raises(ConfigValueError) as caught:
        Configuration.load(None, {"LINKTRAIL_CONFIG": "", name: text})
    assert says in caught.value.message
    assert "hunter2" not in caught.value.message


def test_variables_that_are_not_ours_are_told_not_refused() -> None:
    """Kubernetes makes variables for a Service named linktrail."""
    found = Configuration.load(None, {"LINKTRAIL_CONFIG": "", "LINKTRAIL_PORT": "tcp://10.0.0.1:80", "LINKTRAIL_NODE": "n"})
    assert found.unknown_variables() == ["LINKTRAIL_PORT"]


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    """Nothing but ``ConfigFileError`` comes of a file."""
    file = tmp_path_factory.getbasetemp() / "any.toml"
    file.write_bytes(data)
    try:
        found = read_file(file)
    except ConfigFileError as error:
        found = {}
        told = str(file) in error.message
    else:
        told = True
    assert told
    assert all(name in BY_ENV or name.startswith(LAKE_OPTION_ENV) for name in found)


def test_show_tells_value_and_origin(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """For people and as a document."""
    file = written(tmp_path, 'cluster = "c"\n[lake_options]\naws_region = "r"\n')
    monkeypatch.setenv("LINKTRAIL_NODE", "n")
    assert main(["config", "show", "--origin", "--config", str(file)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"cluster = c  # file {file}:1" in lines
    assert "node = n  # environment LINKTRAIL_NODE" in lines
    assert f"lake_options.aws_region = r  # file {file}:3" in lines
    assert main(["config", "show", "--json", "--config", str(file)]) == 0
    document = json.loads(capsys.readouterr().out)
    settings = {one["key"]: one for one in document["settings"]}
    assert settings["cluster"] == {
        "key": "cluster",
        "value": "c",
        "origin": "file",
        "where": f"{file}:1",
        "variable": "LINKTRAIL_CLUSTER",
        "flag": "--cluster",
        "reload": False,
    }
    assert len(settings) == len(SETTINGS) + 1


def test_verbs_heed_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A flag goes over the file; the file reaches the verb; a wrong one stops it with exit code 2; and nothing of it stays behind."""
    file = written(tmp_path, f'lake = "{tmp_path}/from-file"\n')
    before = dict(os.environ)
    assert main(["images", "--config", str(file)]) == 11
    assert "from-file" in capsys.readouterr().err
    assert main(["images", "--config", str(file), "--lake", str(tmp_path / "from-flag")]) == 11
    assert "from-flag" in capsys.readouterr().err
    assert dict(os.environ) == before
    written(tmp_path, f'state = "{tmp_path}/s"\n')
    assert main(["images", "--config", str(file)]) == 11
    assert f"{tmp_path}/s/lake" in capsys.readouterr().err
    written(tmp_path, "stat = 1\n")
    for verb in ("images", "collect", "process", "serve", "up"):
        assert main([verb, "--config", str(file)]) == 2
        assert "did you mean state?" in capsys.readouterr().err
