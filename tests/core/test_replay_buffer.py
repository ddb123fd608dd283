"""Replay against a plain list, with wrap-around, several environments and every shape of block."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swingup.core import replay_buffer
from swingup.types import Layout, Transition


@settings(max_examples=60, deadline=None)
@given(
    steps=st.integers(1, 9),
    n=st.integers(1, 4),
    capacity=st.integers(1, 30),
    block=st.sampled_from([1, 1, 2, 3]),
)
def test_the_ring_holds_what_a_list_would(steps, n, capacity, block):
    length = -(-capacity // n)
    length += -length % block
    ring, kept = replay_buffer.init(length * n, n, 3), []
    for t in range(steps):
        rows = np.arange(block * n * 3, dtype=np.float32).reshape(block, n, 3) + 1000 * (t + 1)
        ring = replay_buffer.add(ring, rows)
        kept = (kept + list(rows))[-length:]
    assert int(replay_buffer.size(ring)) == len(kept) * n
    held = np.asarray(ring.rows).reshape(-1, 3)[: len(kept) * n]
    assert sorted(map(tuple, held)) == sorted(tuple(r) for row in kept for r in row)
    drawn = np.asarray(replay_buffer.sample(ring, jax.random.key(steps), (64,)))
    assert {tuple(r) for r in drawn[:, 0]} <= {tuple(r) for row in kept for r in row}


def test_sampling_is_uniform_over_what_is_held():
    ring = replay_buffer.init(50, 2, 1)
    for t in range(10):
        ring = replay_buffer.add(ring, np.array([[[2 * t], [2 * t + 1]]], np.float32))
    drawn = np.asarray(replay_buffer.sample(ring, jax.random.key(0), (20_000,)))[:, 0, 0].astype(int)
    counts = np.bincount(drawn, minlength=20)
    assert len(counts) == 20
    chi2 = ((counts - 1000) ** 2 / 1000).sum()
    assert chi2 < 43.8  # 99.9 % point of chi-square with 19 degrees of freedom


def test_clear_empties_and_a_block_that_would_wrap_is_refused():
    ring = replay_buffer.add(replay_buffer.init(4, 1, 1), np.ones((1, 1, 1), np.float32))
    assert int(replay_buffer.size(replay_buffer.clear(ring))) == 0
    with pytest.raises(ValueError, match="do not divide"):
        replay_buffer.add(ring, np.ones((3, 1, 1), np.float32))


def test_adding_is_in_place_when_donated():
    ring = replay_buffer.init(1000, 1, 8)
    add = jax.jit(replay_buffer.add, donate_argnums=0)
    ring = add(ring, np.ones((1, 1, 8), np.float32))
    where = ring.rows.unsafe_buffer_pointer()
    ring = add(ring, np.ones((1, 1, 8), np.float32))
    assert ring.rows.unsafe_buffer_pointer() == where


def test_a_row_is_packed_and_unpacked_unchanged_and_numpy_fields_are_views():
    layout, rng = Layout(3, 2), np.random.default_rng(0)
    t = Transition(
        rng.random((4, 3)),
        rng.random((4, 2)),
        rng.random(4),
        rng.random(4),
        rng.random((4, 3)),
        rng.random(4),
    )
    rows = layout.pack(t)
    assert rows.shape == (4, layout.width)
    for got, want in zip(layout.unpack(rows), t, strict=True):
        np.testing.assert_array_equal(got, want)
    layout.unpack(rows).reward[2] = 7
    assert layout.unpack(rows).reward[2] == 7


def test_gamma_enters_once():
    layout = Layout(1, 1)
    t = Transition(
        *(jnp.ones(s) for s in ((2, 1), (2, 1), (2,))), jnp.array([1.0, 0.0]), jnp.ones((2, 1)), jnp.ones(2)
    )
    np.testing.assert_allclose(
        replay_buffer.n_step_batch(layout, layout.pack(t)[:, None], 0.9).discount, [0.9, 0]
    )
