from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.fuzz.bolt_target import PAGE, one_input, seed


def test_the_seed_itself_is_sound() -> None:
    """Otherwise the mutations would test nothing."""
    assert one_input(seed())


MUTATION = st.tuples(st.integers(0, 1 << 20), st.sampled_from([0, 1, 2, 3, 4, 16, 0x7F, 0x80, 0xFF]), st.integers(1, 4))


@settings(max_examples=300, deadline=None)
@given(st.lists(MUTATION, min_size=1, max_size=6), st.integers(0, 1 << 20) | st.none())
@example([(2 * PAGE + 8, 1, 1)], None)
def test_no_mutation_brings_more_than_a_typed_error(mutations: list[tuple[int, int, int]], cut: int | None) -> None:
    """Wrong counts, offsets, sizes, page numbers, flags, anywhere; cut short anywhere."""
    data = bytearray(seed())
    for place, value, width in mutations:
        at = place % len(data)
        data[at : at + width] = bytes([value]) * width
    one_input(bytes(data[: cut % len(data)] if cut is not None else data))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=6 * PAGE))
def test_no_bytes_bring_more_than_a_typed_error(data: bytes) -> None:
    """After two sound meta pages, noise."""
    one_input(seed()[: 2 * PAGE] + data)
