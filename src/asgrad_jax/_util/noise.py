"""The key of a run's mini-batch noise."""

import numpy as np


def noise_key(seed: int) -> np.ndarray:
    """Returns the key data of a run's noise, for `jax.random.wrap_key_data`.

    Args:
        seed: non-negative integer of any size.

    Returns:
        [2] uint32, a threefry key.

    Example:
        >>> noise_key(0).shape, noise_key(0).dtype
        ((2,), dtype('uint32'))
    """
    # The first word keeps the noise apart from the compute times of the same seed.
    return np.random.SeedSequence([0x6E6F6973, seed]).generate_state(2, np.uint32)
