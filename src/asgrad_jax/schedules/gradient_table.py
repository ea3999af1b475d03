"""Methods that remember gradients, as data: coefficients of a linear memory."""

import dataclasses

import jax
import numpy as np
from numpy.typing import ArrayLike, NDArray

from asgrad_jax._util.checks import (
    check_count,
    check_integers,
    check_numbers,
    make_read_only,
    raise_first,
)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class GradientTable:
    """How each arrival changes the remembered gradients, known beforehand.

    The server keeps a table G of past gradients and two accumulators D_0, D_1. When the
    gradient g of arrival a comes, with r = row_a and j = 0, 1,

        D_0 -= sum of G_s over s in drop_a;
        D_j += gain_aj * g + carry_aj * G_r;   G_r = keep_a * G_r + g,

    and where the server steps it moves along u = sum_j readout_aj * D_j, after which
    D_j = sum_k mix_ajk * D_k. The schedule's `weight` plays no part. IA2SGD has
    gain = (1/n, 0), carry = (-1/n, 0), keep = 0, readout = (1, 0) and mix = identity:
    D_0 is the mean of the last gradients of all workers.

    Attributes:
        row: int32 [A], row of G that the arrival touches, 0 <= row < num_rows.
        gain: float64 [A, 2].
        carry: float64 [A, 2].
        keep: float64 [A].
        readout: float64 [A, 2]; used where the server steps.
        mix: float64 [A, 2, 2]; used where the server steps.
        num_rows: rows of G.
        drop: int32 [A, M], further rows that leave D_0 at this arrival, -1 for none;
            None where that never happens.

    Example:
        >>> table = GradientTable.from_arrays(
        ...     [0, 1], gain=[[0.5, 0], [0.5, 0]], carry=[[-0.5, 0], [-0.5, 0]])
        >>> table.num_rows, table.readout.tolist()
        (2, [[1.0, 0.0], [1.0, 0.0]])
    """

    row: NDArray[np.int32]
    gain: NDArray[np.float64]
    carry: NDArray[np.float64]
    keep: NDArray[np.float64]
    readout: NDArray[np.float64]
    mix: NDArray[np.float64]
    num_rows: int = dataclasses.field(metadata={"static": True})
    drop: NDArray[np.int32] | None = None

    @classmethod
    def from_arrays(
        cls,
        row: ArrayLike,
        *,
        gain: ArrayLike,
        carry: ArrayLike,
        keep: ArrayLike = 0.0,
        readout: ArrayLike = (1.0, 0.0),
        mix: ArrayLike = ((1.0, 0.0), (0.0, 1.0)),
        num_rows: int | None = None,
        drop: ArrayLike | None = None,
    ) -> "GradientTable":
        """Builds a checked table from columns; one value stands for all rows.

        Arrays that can be written to are copied, as in `Schedule.from_arrays`. A value
        that stands for all rows takes the memory of one.

        Args:
            row: integers [A].
            gain, carry, readout: floats [A, 2] or [2].
            keep: floats [A] or one.
            mix: floats [A, 2, 2] or [2, 2].
            num_rows: rows of G; the largest `row` + 1 where left out.
            drop: integers [A, M], -1 for none.

        Raises:
            TypeError, ValueError: if an argument is not as described, a value is not
                finite, or a row is out of range.
        """
        rows = check_integers("row", row)
        if len(rows) == 0:
            raise ValueError("row must have at least one entry, got none")
        shapes = {
            "gain": (gain, (2,)),
            "carry": (carry, (2,)),
            "keep": (keep, ()),
            "readout": (readout, (2,)),
            "mix": (mix, (2, 2)),
        }
        columns = {}
        for name, (values, shape) in shapes.items():
            wanted = (len(rows), *shape)
            column = make_read_only(check_numbers(name, values))
            try:
                columns[name] = np.broadcast_to(column, wanted)
            except ValueError:
                raise ValueError(
                    f"{name} must have shape {wanted}, got {column.shape}"
                ) from None
        table = cls(
            row=rows,
            **columns,
            num_rows=int(rows.max()) + 1
            if num_rows is None
            else check_count("num_rows", num_rows),
            drop=None if drop is None else check_integers("drop", drop, ndim=2),
        )
        table.validate(len(rows))
        return table

    def validate(self, arrivals: int) -> None:
        """Raises ValueError unless every column fits `arrivals` rows and is finite."""
        for name in ("row", "gain", "carry", "keep", "readout", "mix"):
            column = getattr(self, name)
            if len(column) != arrivals:
                raise ValueError(
                    f"table.{name} must have one entry for each of the {arrivals} "
                    f"arrivals, got {len(column)}"
                )
            if column.strides[0] == 0:
                column = column[:1]  # one value for all rows
            bad = ~np.isfinite(column)
            if bad.any():
                row = np.nonzero(bad)[0][0]
                raise ValueError(
                    f"row {row}: table.{name} must be finite, got "
                    f"{column[row].tolist()}"
                )
        last = self.num_rows - 1
        raise_first(
            (self.row < 0) | (self.row > last),
            lambda row: (
                f"row {row}: table.row must be in 0..{last}, got {self.row[row]}"
            ),
        )
        if self.drop is None:
            return
        if len(self.drop) != arrivals:
            raise ValueError(
                f"table.drop must have shape [{arrivals}, M], got {self.drop.shape}"
            )
        drop = self.drop
        raise_first(
            np.any((drop < -1) | (drop > last), axis=1),
            lambda row: (
                f"row {row}: table.drop must be in 0..{last} (-1: none), got "
                f"{drop[row].tolist()}"
            ),
        )
