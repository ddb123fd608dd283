"""Seeds of episodes: four numbers determine the seed of every episode of a run."""

from __future__ import annotations

import numpy as np

# Streams that separate the seeds of training, evaluation, the check that episodes are reproducible, and
# the goals drawn in hindsight.
TRAIN, EVALUATE, PREFLIGHT, HINDSIGHT = 0, 1, 2, 3


def episode_seed(seed, stream, env, episode):
    """The seed of one episode of one environment: these four numbers are enough to start it again.

    31 bits of `np.random.SeedSequence((seed, stream, env, episode))`, in uint32 arithmetic so that a compiled
    loop computes the same (M. O'Neill's seed_seq_fe128). Numbers or arrays, NumPy or JAX.
    """
    words = [
        np.uint32(w) if isinstance(w, (int, np.integer)) else w.astype(np.uint32)
        for w in (seed, stream, env, episode)
    ]
    factors = iter([np.uint32(0x43B0D7E5 * pow(0x931E8875, k, 2**32) % 2**32) for k in range(17)])
    factor = next(factors)

    def scramble(word):
        nonlocal factor
        word, factor = word ^ factor, next(factors)
        word = word * factor
        return word ^ (word >> np.uint32(16))

    with np.errstate(over="ignore"):
        pool = [scramble(word) for word in words]
        for source in range(4):
            for target in range(4):
                if source != target:
                    mixed = np.uint32(0xCA01F9DD) * pool[target] - np.uint32(0x4973F715) * scramble(
                        pool[source]
                    )
                    pool[target] = mixed ^ (mixed >> np.uint32(16))
        last = (pool[0] ^ np.uint32(0x8B51F9DD)) * np.uint32(0x8B51F9DD * 0x58F38DED % 2**32)
    return (last ^ (last >> np.uint32(16))) >> np.uint32(1)
