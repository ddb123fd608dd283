"""One big run over several devices: each holds a share of the environments, of the replay ring and of every minibatch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from swingup.errors import InputError

AXIS = "devices"


@dataclass(frozen=True)
class Split:
    """Devices in a row. Environments and what belongs to them lie spread over them by environment; networks are the same on all."""

    mesh: Mesh

    def over(self, axis: int | None) -> NamedSharding:
        """Arrays cut along one axis, or (None) whole on every device."""
        spec = PartitionSpec() if axis is None else PartitionSpec(*[None] * axis, AXIS)
        return NamedSharding(self.mesh, spec)

    def take(self, ring: Any, place, n_step: int = 1):
        """`replay.take`, the minibatch place[*, B] -> rows[*, B, n_step, W] cut along B.

        Each device looks up the places that lie in its own environments; a sum over the devices, of which one has the row and the
        others zeros, hands each its share of the batch. So the ring itself never travels.
        """
        devices, axis = self.mesh.size, place.ndim - 1

        def share(rows, place):
            c, n, _ = rows.shape
            time, column = place // (n * devices), place % (n * devices) - n * jax.lax.axis_index(AXIS)
            mine = (column >= 0) & (column < n)
            at = (time[..., None] + jnp.arange(n_step)) % c
            found = rows[at, jnp.where(mine, column, 0)[..., None]]
            found = jnp.where(mine[..., None, None], found, 0)
            return jax.lax.psum_scatter(found, AXIS, scatter_dimension=axis, tiled=True)

        specs = PartitionSpec(None, AXIS), PartitionSpec()
        out = PartitionSpec(*[None] * axis, AXIS)
        return jax.shard_map(share, mesh=self.mesh, in_specs=specs, out_specs=out)(ring.rows, place)


def split(devices: int) -> Split | None:
    """The first so many devices, or None for one; InputError, one line, where there are fewer."""
    if devices == 1:
        return None
    there = jax.devices()
    if devices > len(there):
        kind = there[0].platform.upper()
        more = " (XLA_FLAGS=--xla_force_host_platform_device_count=4 makes four of one CPU)" if kind == "CPU" else ""
        raise InputError(
            f"--devices {devices}: there {'is' if len(there) == 1 else 'are'} {len(there)} {kind} here; use fewer{more}"
        )
    return Split(Mesh(there[:devices], (AXIS,)))
