"""The page of settings and the example file, made from the table."""

from __future__ import annotations

import itertools
import json
from typing import Final

from linktrail.config.kinds import KINDS
from linktrail.config.table import LAKE_OPTION_ENV, LAKE_OPTIONS, QUERIES, SETTINGS, Setting

_HEAD: Final = f"""# Configuration

A flag goes over a `LINKTRAIL_*` variable, that over the file, that over the default. The file is `/etc/linktrail/linktrail.toml` where
that is, or the one that `--config FILE` or `LINKTRAIL_CONFIG` names (set to nothing: no file). It is TOML; deploy/linktrail.toml has
every key. An unknown key is an error that names the nearest known one, a value of the wrong type one that names file and line; nothing
starts with a wrong file. A variable that is set to nothing counts as not set, and one that is no setting is left alone (Kubernetes
makes some); `linktrail doctor` lists those.

`linktrail config show --origin` shows every value and where it came from, `--json` as a document.

**Secrets** are files: settings named `..._file` hold a path, and a file that everybody can read is refused. Neither flags nor variables nor
this file take a secret itself. Secrets are read when they are needed, so a rotated one is taken up at the next connection.

**SIGHUP** makes `collect` and `process` read the file again. What the table marks with "reload" is in force from then on; the log says
what changed and what needs a restart. A file that is wrong then changes nothing, and the log says why. Flags and variables stay as they
were at the start.

An object store's own settings stand in `[{LAKE_OPTIONS}]` by its vendor's names (`aws_region`, `azure_storage_account_name`, ...), or in
`{LAKE_OPTION_ENV}<NAME>`; secrets among them only as `<name>_file`. The vendors' own variables (`AWS_...`, `AZURE_...`, `GOOGLE_...`) work
too.
"""


def configuration_page() -> str:
    """Return the page."""
    lines = [_HEAD]
    for section, settings in itertools.groupby(SETTINGS, lambda one: one.section):
        lines += [
            f"## `[{section}]`" if section else "## At the top of the file",
            "",
            "| key | variable | flag | value | default | for | SIGHUP | meaning |",
            "| --- | --- | --- | --- | --- | --- | --- | --- |",
        ]
        lines += [_row(setting) for setting in settings]
        lines.append("")
    return "\n".join(lines)


def _row(setting: Setting) -> str:
    value = ", ".join(f"`{choice}`" for choice in setting.choices) or KINDS[setting.kind].written
    default = f"`{setting.default}`" if setting.default else setting.usual or "not set"
    verbs = ", ".join("all that ask" if verb == QUERIES else f"`{verb}`" for verb in setting.verbs)
    flag = f"`{setting.flag}`" if setting.flag else ""
    again = "reload" if setting.reload else "restart"
    cells = (f"`{setting.name}`", f"`{setting.env}`", flag, value, default, verbs, again, setting.meaning)
    return f"| {' | '.join(cells)} |"


def example_file() -> str:
    """Return a file with every key as a comment: what is there is in force already, or an example."""
    lines = [
        "# linktrail's settings: /etc/linktrail/linktrail.toml. Every key there is; docs/configuration.md says more.",
        "# What follows '=' is the default, or an example where the comment says what is done without one.",
        "# linktrail config show --origin shows what is in force.",
        "",
    ]
    for section, settings in itertools.groupby(SETTINGS, lambda one: one.section):
        if section:
            lines.append(f"[{section}]")
        for setting in settings:
            usual = f" Without: {setting.usual or 'not set'}." if not setting.default else ""
            lines += [f"# {setting.meaning}{usual}", f"#{setting.name} = {_example(setting)}"]
        lines.append("")
    lines += [
        f"[{LAKE_OPTIONS}]",
        "# Settings of an object store, by the names its vendor gives them; secrets as <name>_file.",
        '#aws_region = "eu-central-1"',
        '#aws_secret_access_key_file = "/etc/linktrail/s3-secret"',
    ]
    return "\n".join([*lines, ""])


_EXAMPLES: Final = {
    "state": "/var/lib/linktrail",
    "cluster": "prod",
    "node": "node-1",
    "lake": "/srv/lake",
    "cache": "/var/cache/linktrail",
    "collect.roots": ["/var/lib/containers/storage"],
    "collect.proc": "/proc",
    "collect.metrics": "127.0.0.1:9477",
    "collect.min_age": "24h",
    "process.metrics": "127.0.0.1:9478",
    "process.maintain_every": "10m",
    "kafka.brokers": ["kafka-1:9093", "kafka-2:9093"],
    "kafka.group": "processors",
    "kafka.partitions": "0,2,5-7",
    "kafka.ca_file": "/etc/linktrail/ca.pem",
    "kafka.certificate_file": "/etc/linktrail/client.pem",
    "kafka.key_file": "/etc/linktrail/client.key",
    "kafka.key_password_file": "/etc/linktrail/client.key.password",
    "kafka.sasl_mechanism": "SCRAM-SHA-512",
    "kafka.username": "node-1",
    "kafka.password_file": "/etc/linktrail/kafka.password",
    "kafka.token_file": "/var/run/secrets/kafka/token",
    "serve.token_file": "/etc/linktrail/serve-token",
}


def _example(setting: Setting) -> str:
    kind = KINDS[setting.kind]
    if not setting.default:
        return json.dumps(_EXAMPLES[setting.key])
    if kind.types == (int,):
        return setting.default
    return ("true" if setting.default == "yes" else "false") if kind.types == (bool,) else json.dumps(setting.default)
