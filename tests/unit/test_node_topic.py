"""Names of the topics of nodes: one for each node, and the node for each name."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linktrail.broker import Connection
from linktrail.errors import TopicNameError
from linktrail.node_topic import LONGEST, node_topic, owner_of

SHARED = "linktrail.events.v1"
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12) | st.from_regex(r"[a-z_.5]{1,9}", fullmatch=True)


@given(names, names, names, names)
def test_no_two_nodes_share_a_topic(cluster: str, node: str, other_cluster: str, other_node: str) -> None:
    """Whatever dots and underscores are in their names; and a name tells whose it is."""
    name = node_topic(SHARED, cluster, node)
    assert re.fullmatch(r"[A-Za-z0-9._-]+", name)
    assert owner_of(SHARED, name) == (cluster, node)
    assert (name == node_topic(SHARED, other_cluster, other_node)) == ((cluster, node) == (other_cluster, other_node))


@given(st.from_regex(r"linktrail\.events\.v1[A-Za-z0-9._-]{0,40}", fullmatch=True))
def test_what_is_no_nodes_topic_has_no_owner(name: str) -> None:
    """A name that is not exactly as it is written belongs to nobody, so nobody's second topic is read."""
    owner = owner_of(SHARED, name)
    assert owner is None or node_topic(SHARED, *owner) == name


@pytest.mark.parametrize(
    "name", [SHARED, "linktrail.dlq.v1", f"{SHARED}.a", f"{SHARED}.a.", f"{SHARED}.a_2E.b", f"{SHARED}.a_ff.b", f"{SHARED}x.a.b"]
)
def test_some_that_are_none(name: str) -> None:
    """The shared topic itself, one without a node, other spellings, bytes that are no UTF-8."""
    assert owner_of(SHARED, name) is None


def test_as_the_chart_writes_it() -> None:
    """Names of Kubernetes stand as they are; of the cluster, what is no letter, digit or hyphen is written as its number."""
    assert node_topic(SHARED, "prod.eu_1", "ip-10-0-0-1.ec2.internal") == f"{SHARED}.prod_2eeu_5f1.ip-10-0-0-1.ec2.internal"


def test_a_name_too_long_for_kafka_is_one_clear_error() -> None:
    """Not a record that no topic takes."""
    assert len(node_topic(SHARED, "c", "n" * (LONGEST - len(SHARED) - 3))) == LONGEST
    with pytest.raises(TopicNameError, match="would have 250 characters"):
        node_topic(SHARED, "c", "n" * (LONGEST - len(SHARED) - 2))
    assert owner_of(SHARED, f"{SHARED}.c." + "_" * 220) is None


def test_a_collector_takes_its_own_topic_where_that_is_set() -> None:
    """By the setting; without it the shared one."""
    assert Connection.of("a:1", [], {}).for_node("c", "n").settings.topic == SHARED
    assert Connection.of("a:1", ["topic-per-node=yes"], {}).for_node("c", "n").settings.topic == f"{SHARED}.c.n"
