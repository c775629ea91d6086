"""A store that anything may happen to, read at any moment: the rows always add up to what a plain dictionary says is there."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from collector.links import Link, LinkKey, LinkKind
from collector.watch.interface import Cause
from tests.recorder.playground import layer_id, short_name
from tests.recorder.support import Rig, fold

LINKS = st.integers(100, 104)
LAYERS = st.integers(10, 13)
TARGETS = st.integers(0, 3).map(lambda number: f"../{layer_id(number)}/diff")
IMAGES = st.sampled_from(["a", "b"])


class AnyStore(RuleBasedStateMachine):
    """The model: short links by name, layers, images."""

    def __init__(self) -> None:
        super().__init__()
        self.where = Path(tempfile.mkdtemp())
        self.rig = Rig(self.where, layers=2)
        self.links = {short_name(number): f"../{layer_id(number)}/diff" for number in range(2)}
        self.layers = {layer_id(0), layer_id(1)}
        self.images = {"localhost/base:1"}
        self.read_since_change = False
        self.rig.start()
        self.look()

    def teardown(self) -> None:
        """Leave nothing behind."""
        self.rig.crash()
        shutil.rmtree(self.where)

    # --- what happens to the store --------------------------------------------------------------------------------

    @rule(number=LINKS, to=TARGETS, told=st.booleans())
    def make_or_retarget(self, number: int, to: str, told: bool) -> None:
        """A short link is made, or another put over it."""
        name = short_name(number)
        if name in self.links:
            self.rig.store.retarget(name, to)
        else:
            self.rig.store.link(name, to)
        self._changed(told, "moved_in" if name in self.links else "created", f"overlay/l/{name}")
        self.links[name] = to

    @rule(number=LINKS, told=st.booleans())
    def remove(self, number: int, told: bool) -> None:
        """A short link is removed."""
        name = short_name(number)
        if name in self.links:
            self.rig.store.unlink(name)
            del self.links[name]
            self._changed(told, "removed", f"overlay/l/{name}")

    @rule(number=LAYERS, told=st.booleans())
    def pull_or_remove_layer(self, number: int, told: bool) -> None:
        """A layer is pulled, or removed."""
        layer = layer_id(number)
        if layer in self.layers:
            self.rig.store.remove_layer(number)
            self.layers.remove(layer)
            del self.links[short_name(number)]
        else:
            self.rig.store.add_layer(number, parent=1)
            self.layers.add(layer)
            self.links[short_name(number)] = f"../{layer}/diff"
        self._changed(told, "moved_in", "overlay-layers/layers.json")

    @rule(name=IMAGES, told=st.booleans())
    def tag_or_remove_image(self, name: str, told: bool) -> None:
        """An image is recorded, or removed."""
        full = f"localhost/{name}:1"
        if full in self.images:
            self.rig.store.remove_image(name)
            self.images.remove(full)
        else:
            self.rig.store.add_image(name, 1)
            self.images.add(full)
        self._changed(told, "moved_in", "overlay-images/images.json")

    def _changed(self, told: bool, action: str, path: str) -> None:
        self.read_since_change = False
        self.rig.clock.advance(0.01)
        if told:
            self.rig.event(action, path)

    # --- what happens to the recorder -----------------------------------------------------------------------------

    @rule()
    def look(self) -> None:
        """The store is read."""
        self.rig.recorder.step(0)
        assert self.rig.recorder.stores[0].read()
        self.rig.recorder.outbox.seal()
        self.read_since_change = True

    @rule()
    def lose_events(self) -> None:
        """The watch overflows."""
        self.rig.watcher.reports.clear()
        self.rig.lose(Cause.OVERFLOW)

    @rule(seconds=st.sampled_from([0.05, 1.5, 40]))
    def time_passes(self, seconds: float) -> None:
        """The recorder goes its way."""
        self.rig.settle(seconds, step=max(0.05, seconds / 10))

    @rule(clean=st.booleans())
    def restart(self, clean: bool) -> None:
        """The collector ends, one way or another, and comes back."""
        if clean:
            self.rig.recorder.stop()
            self.read_since_change = False
        self.rig.crash()
        self.rig.clock.advance(1)
        self.rig.start()
        self.look()

    @precondition(lambda self: self.read_since_change)
    @invariant()
    def rows_add_up(self) -> None:
        """After a reading, the fold of all rows is the model."""
        self.rig.recorder.outbox.seal()
        standing = fold(self.rig.rows("links"))
        assert {link.subject: link.target for link in kind(standing, LinkKind.SHORT_LINK)} == self.links
        assert {link.subject for link in kind(standing, LinkKind.LAYER_DIRECTORY)} == self.layers
        assert {link.subject for link in kind(standing, LinkKind.LAYER_RECORD)} == self.layers
        assert {link.subject for link in kind(standing, LinkKind.IMAGE_NAME)} == self.images


def kind(standing: dict[LinkKey, Link], wanted: LinkKind) -> list[Link]:
    """Return the links of one kind."""
    return [link for link in standing.values() if link.kind is wanted]


TestAnyStore = AnyStore.TestCase
TestAnyStore.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
