"""Feature shift: every worker sees its rows through a sensor of its own."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from asgrad_jax._util.checks import check_number, check_seed


@dataclass(frozen=True)
class FeatureShift:
    """How the features of worker i differ from those of the file.

    A row a becomes (R_i a) * exp(scale z_i) + offset u_i + s_i e, with z_i and u_i ~
    N(0, I) drawn for each worker, e ~ N(0, I) for each row, s_i = noise (i + 1) / n, so
    that the last worker has the most. R_i turns the features, paired at random, by the
    angle rotation t_i with t_i ~ N(0, 1): lengths stay.

    Attributes:
        offset, scale, noise, rotation: >= 0, see above; the rotation in radians.
        seed: of the draws.
    """

    offset: float = 0.0
    scale: float = 0.0
    noise: float = 0.0
    rotation: float = 0.0
    seed: int = 0

    def __str__(self) -> str:
        """The amounts that are not 0."""
        named = {n: getattr(self, n) for n in ("offset", "scale", "noise", "rotation")}
        return ", ".join(f"{n} {v:g}" for n, v in named.items() if v) or "none"

    def apply(
        self,
        matrix: NDArray[np.float64],
        rows: NDArray[np.int64],
        counts: NDArray[np.int64],
    ) -> NDArray[np.float64]:
        """Returns a copy of features [N, d] as the workers see them.

        Args:
            matrix: [N, d].
            rows: [M], row numbers, worker after worker; others stay as they are.
            counts: [n], rows of each worker.

        Example:
            >>> shift = FeatureShift(offset=1.0)
            >>> seen = shift.apply(np.zeros((3, 2)), np.arange(2), np.array([1, 1]))
            >>> bool(seen[0, 0] != seen[1, 0]), seen[2].tolist()
            (True, [0.0, 0.0])
        """
        n, d = len(counts), matrix.shape[1]
        rng = np.random.default_rng(self.seed)
        factors = np.exp(self.scale * rng.standard_normal((n, d)))
        moves = self.offset * rng.standard_normal((n, d))
        mine = np.repeat(np.arange(n), counts)
        taken = self._turned(matrix[rows], mine, n) * factors[mine] + moves[mine]
        if self.noise:
            spread = self.noise * (mine + 1) / n
            taken += spread[:, None] * rng.standard_normal(taken.shape)
        shifted = matrix.copy()
        shifted[rows] = taken
        return shifted

    def _turned(
        self, taken: NDArray[np.float64], mine: NDArray, n: int
    ) -> NDArray[np.float64]:
        if not self.rotation:
            return taken
        rng = np.random.default_rng([self.seed, 1])  # apart from the other draws
        order = rng.permutation(taken.shape[1])
        half = len(order) // 2
        first, second = order[:half], order[half : 2 * half]
        angle = (self.rotation * rng.standard_normal(n))[mine, None]
        a, b = taken[:, first].copy(), taken[:, second].copy()
        taken[:, first] = np.cos(angle) * a - np.sin(angle) * b
        taken[:, second] = np.sin(angle) * a + np.cos(angle) * b
        return taken


def checked_shift(
    *, offset: float, scale: float, noise: float, rotation: float, seed: int
) -> FeatureShift:
    """The shift of these numbers, checked.

    Raises:
        TypeError, ValueError: unless all are finite numbers >= 0.

    Example:
        >>> str(checked_shift(offset=1, scale=0, noise=0, rotation=0.5, seed=0))
        'offset 1, rotation 0.5'
    """
    named = dict(offset=offset, scale=scale, noise=noise, rotation=rotation)
    amounts = {k: check_number(k, v, minimum=0) for k, v in named.items()}
    return FeatureShift(**amounts, seed=check_seed(seed))
