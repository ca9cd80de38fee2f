"""Draws of ops that have no seed: the same in all runs of one script that must be alike.

TensorFlow seeds such an op from the machine's entropy. With this it is seeded from a number that was drawn once.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from tfdiff.recorder.patching import Patches

_LARGEST = 2**31 - 1


def seed_libraries(seed: int) -> None:
    """Set the global random state that scripts use which set no seed themselves."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - the global state is what such scripts use


def seed_draws(seed: int, patches: Patches) -> None:
    """Give each op without a seed one of a sequence that begins with `seed`; what the script seeds stays as it is."""
    from tensorflow.python.framework import random_seed

    numbers = random.Random(seed)  # noqa: S311 - no secrets

    def make_seeds(original: Callable[..., Any]) -> Callable[..., Any]:
        def get_seed(op_seed: Any) -> Any:
            seeds = original(op_seed)
            if any(each is not None for each in seeds):
                return seeds
            return numbers.randint(1, _LARGEST), numbers.randint(1, _LARGEST)

        return get_seed

    patches.wrap(random_seed, "get_seed", make_seeds)
