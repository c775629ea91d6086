from __future__ import annotations

import re
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

from collector.settings import INTERVALS
from collector.settings import Settings as Pacing
from collector.spool import LIMIT_BYTES
from linktrail.broker import Settings as KafkaSettings
from linktrail.command import VERBS, load
from linktrail.config.file import checked, read_file
from linktrail.config.pages import example_file
from linktrail.config.table import BY_KEY, QUERIES, SETTINGS
from linktrail.durations import parse_duration
from linktrail.sizes import parse_size
from processor.pipeline import FlushPolicy


def test_keys_and_variables_are_unique_and_defaults_fit() -> None:
    """One key, one variable, one meaning; a default is a value that would be taken."""
    assert len({setting.key for setting in SETTINGS}) == len({setting.env for setting in SETTINGS}) == len(SETTINGS)
    for setting in SETTINGS:
        assert re.fullmatch(r"LINKTRAIL_[A-Z_]+", setting.env)
        assert not setting.env.endswith(("_PORT", "_SERVICE_HOST")), "Kubernetes makes such variables for Services"
        assert setting.meaning.endswith(".")
        if setting.default:
            assert checked(setting, setting.default) == setting.default


def test_defaults_are_those_of_the_programs() -> None:
    """What the table says of a default is what the code does without a setting."""
    pacing, policy, kafka = Pacing(), FlushPolicy(), KafkaSettings()
    for name in (*INTERVALS, "quiet", "max_delay"):
        assert parse_duration(BY_KEY[f"collect.{name}"].default, name) == getattr(pacing, name), name
    assert parse_size(BY_KEY["collect.spool_limit"].default) == LIMIT_BYTES
    assert int(BY_KEY["process.flush_rows"].default) == policy.rows
    assert int(BY_KEY["process.flush_megabytes"].default) << 20 == policy.size_bytes
    assert parse_duration(BY_KEY["process.flush_after"].default, "") == policy.urgent_seconds
    for field in fields(kafka):
        declared = BY_KEY[f"kafka.{field.name}"].default
        is_flag = BY_KEY[f"kafka.{field.name}"].kind == "flag"
        assert (getattr(kafka, field.name) or "no" if is_flag else getattr(kafka, field.name)) == declared


def test_flags_have_the_variables_that_the_table_declares() -> None:
    """Every flag of the table exists on its verbs, and takes the variable of the table."""
    asking = [verb.name for verb in VERBS if verb.target.startswith("queries.verbs") and verb.name != "serve"]
    checked_flags = 0
    for setting in SETTINGS:
        if not setting.flag.startswith("--") or " " in setting.flag:
            continue
        for name in [one for verb in setting.verbs for one in (asking if verb == QUERIES else [verb])]:
            command = load(next(verb for verb in VERBS if verb.name == name))
            found = [parameter for parameter in command.params if setting.flag in parameter.opts]
            if setting.key == "state" and name in asking:
                continue  # they have --lake alone; the variable says where its default is
            [option] = found
            assert option.envvar == setting.env, (name, setting.flag)
            checked_flags += 1
    assert checked_flags > 40


def test_the_example_is_a_file_with_every_key(tmp_path: Path) -> None:
    """Without the comment signs every line of it is taken, and means what the table says."""
    text = re.sub(r"^#(?! )", "", example_file(), flags=re.MULTILINE)
    assert not tomllib.loads(example_file()).get("state")
    file = tmp_path / "linktrail.toml"
    file.write_text(text)
    found = read_file(file)
    assert {setting.env for setting in SETTINGS} < set(found)
    for setting in SETTINGS:
        if setting.default:
            assert found[setting.env].text == setting.default, setting.key


@pytest.mark.parametrize(("text", "size"), [("1", 1), ("512MiB", 512 << 20), ("1GiB", 1 << 30), ("2 GB", 2_000_000_000), ("1.5k", 1500)])
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "x", "1XB", "-1", "1 2", "GiB"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(ValueError, match="size"):
        parse_size(text)
