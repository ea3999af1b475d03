"""What every schedule and lane of a run shares."""

import dataclasses

from asgrad_jax.engine.arrival import Batching, Metric
from asgrad_jax.engine.devices import beside, is_spread
from asgrad_jax.engine.server import Params, ServerFactory
from asgrad_jax.problems.problem import Problem


@dataclasses.dataclass(frozen=True, kw_only=True)
class Experiment:
    """What every schedule and lane of a run shares.

    Attributes:
        problem: a problem on the host.
        init_params: x_0, leaves without a lane axis.
        record_every: arrivals between two records.
        server: hyper-parameters -> optax transformation; None is plain SGD.
        metrics: further (name, params -> scalar) pairs.
        precision: "float32" or "float64".
        width: arrivals per wave; None chooses.
        batching: how schedules share the device; None chooses.
        memory_budget: bytes; None is most of what is free.
        threads: cores of a CPU in use, most of them by calls of their own; None is all.
        processes: that the calls are spread over, each with `threads` cores and a
            memory of its own.
        finals: whether the last iterates are wanted.
        kernels: whether compiled CPU kernels may be used.
        buffer: "bfloat16" for the iterates that are held; None: the precision.
        strides: (name, k) of metrics that are computed at every k-th record alone.
    """

    problem: Problem
    init_params: Params
    record_every: int
    server: ServerFactory | None = None
    metrics: tuple[Metric, ...] = ()
    precision: str = "float32"
    width: int | None = None
    batching: Batching | None = None
    memory_budget: float | None = None
    threads: int | None = None
    processes: int = 1
    finals: bool = True
    kernels: bool = True
    buffer: str | None = None
    strides: tuple[tuple[str, int], ...] = ()

    def by_placement(self) -> "Experiment":
        """The same, run as arrays ask for that the user has spread over devices.

        All devices work on one call at a time, in plain JAX, which XLA can split.
        """
        if not is_spread(self.problem, self.init_params):
            return self
        start = beside(self.init_params, self.problem)
        return dataclasses.replace(
            self, init_params=start, batching="single", threads=1, kernels=False
        )
