"""One run on several devices: each holds a share of the environments, of replay and of every minibatch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from swingup.errors import InputError

AXIS = "devices"


@dataclass(frozen=True)
class Sharding:
    """The devices of a run: environments and their arrays are divided among them; each holds the networks."""

    mesh: Mesh

    def over(self, axis: int | None) -> NamedSharding:
        """The placement of arrays divided along `axis`, or (None) whole on every device."""
        spec = PartitionSpec() if axis is None else PartitionSpec(*[None] * axis, AXIS)
        return NamedSharding(self.mesh, spec)

    def gather(self, ring: Any, index, n_step: int = 1):
        """`replay_buffer.gather` of index[*, B] -> rows[*, B, n_step, W], divided along B.

        Each device looks up the indices of its own environments; a sum over the devices, of which one has the
        row and the others zeros, gives each device its share of the batch. So the ring is never transferred.
        """
        devices, axis = self.mesh.size, index.ndim - 1

        def share(rows, index):
            c, n, _ = rows.shape
            time, column = index // (n * devices), index % (n * devices) - n * jax.lax.axis_index(AXIS)
            mine = (column >= 0) & (column < n)
            at = (time[..., None] + jnp.arange(n_step)) % c
            found = rows[at, jnp.where(mine, column, 0)[..., None]]
            found = jnp.where(mine[..., None, None], found, 0)
            return jax.lax.psum_scatter(found, AXIS, scatter_dimension=axis, tiled=True)

        specs = PartitionSpec(None, AXIS), PartitionSpec()
        out = PartitionSpec(*[None] * axis, AXIS)
        return jax.shard_map(share, mesh=self.mesh, in_specs=specs, out_specs=out)(ring.rows, index)


def share_devices(devices: int) -> Sharding | None:
    """A sharding over the first `devices` devices, or None for one; InputError if there are fewer."""
    if devices == 1:
        return None
    there = jax.devices()
    if devices > len(there):
        kind = there[0].platform.upper()
        more = (
            " (XLA_FLAGS=--xla_force_host_platform_device_count=4 makes four of one CPU)"
            if kind == "CPU"
            else ""
        )
        raise InputError(
            f"--devices {devices}: there {'is' if len(there) == 1 else 'are'} {len(there)} {kind} here; "
            f"use fewer{more}"
        )
    return Sharding(Mesh(there[:devices], (AXIS,)))
