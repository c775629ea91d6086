"""The verbs that ask one question of the catalog about one thing: ``whois``, ``why``, ``shared-by`` and ``inspect``."""

from __future__ import annotations

from linktrail.output import Format
from queries.verbs.giving import give
from queries.verbs.options import AsJson, At, Cluster, Form, From, Lake, Node, Subject, To, instant, lake_path, open_span


def whois(
    subject: Subject,
    *,
    lake: Lake = None,
    first: From = None,
    last: To = "now",
    cluster: Cluster = None,
    node: Node = None,
    form: Form = Format.TABLE,
    as_json: AsJson = False,
) -> int:
    """Who owns a layer, directory, snapshot, image or container: pod, container and image, now and in the past, also after deletion.

    Examples: linktrail whois 4f1c0a9be2d7
              linktrail whois /var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/232/fs
              linktrail whois web-1 --from '2 days ago' --to '1 day ago'

    Owners that were gone before --from, or known only after --to, are left out.

    Exit code 3: answered, but the record has gaps.
    """
    from queries.answers.about import asked_about  # noqa: PLC0415 - --help must not wait for it

    after, before = open_span(first, last)
    values = {"since": after, "until": before, "cluster": cluster, "node": node}
    return give(asked_about(lake_path(lake), "whois", subject, values), form, as_json=as_json)


def why(
    subject: Subject,
    *,
    lake: Lake = None,
    at: At = "now",
    cluster: Cluster = None,
    node: Node = None,
    form: Form = Format.TABLE,
    as_json: AsJson = False,
) -> int:
    """Why something is not collected: each path of links by which an image, container, lease, label or mount holds it.

    Examples: linktrail why 4f1c0a9be2d7
              linktrail why sha256:223b575c... --at '2 days ago' --json

    Exit code 3: answered, but the record has gaps at that instant.
    """
    from queries.answers.why import held  # noqa: PLC0415 - --help must not wait for it

    return give(held(lake_path(lake), subject, at=instant(at), cluster=cluster, node=node), form, as_json=as_json)


def shared_by(
    subject: Subject,
    *,
    lake: Lake = None,
    at: At = "now",
    cluster: Cluster = None,
    node: Node = None,
    form: Form = Format.TABLE,
    as_json: AsJson = False,
) -> int:
    """What shares a layer: the images and containers that must all go before a new pull rebuilds it.

    Example: linktrail shared-by 4f1c0a9be2d7

    Exit code 3: answered, but the record has gaps at that instant.
    """
    from queries.answers.about import asked_about  # noqa: PLC0415 - --help must not wait for it

    values = {"at": instant(at), "cluster": cluster, "node": node}
    return give(asked_about(lake_path(lake), "shared_by", subject, values), form, as_json=as_json)


def inspect(
    subject: Subject,
    *,
    lake: Lake = None,
    at: At = "now",
    cluster: Cluster = None,
    node: Node = None,
    form: Form = Format.TABLE,
    as_json: AsJson = False,
) -> int:
    """A container, image or layer as its engine would have described it at an instant: records, layer paths, mount points, sizes.

    Example: linktrail inspect web-7f9c --at '2h ago'

    Exit code 3: answered, but the record has gaps at that instant.
    """
    from queries.answers import inspect as inspecting  # noqa: PLC0415 - --help must not wait for it

    return give(inspecting.inspect(lake_path(lake), subject, at=instant(at), cluster=cluster, node=node), form, as_json=as_json)
