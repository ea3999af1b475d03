"""Weights and limits that look at the delay of a gradient."""

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asgrad_jax._util.checks import check_choice, check_number
from asgrad_jax.algorithms.algorithm import Algorithm, Count
from asgrad_jax.algorithms.asynchronous import fedbuff
from asgrad_jax.algorithms.event_method import EventMethod
from asgrad_jax.algorithms.registry import register
from asgrad_jax.algorithms.round_algorithm import RoundAlgorithm
from asgrad_jax.schedules.schedule import Schedule

FORMS = ("ratio", "inverse", "drop")
KINDS = ("polynomial", "hinge", "exponential")


@dataclasses.dataclass(frozen=True)
class DelayWeights:
    """Multiplies weights by a factor of tau and tau_C, see `delay_adaptive`."""

    form: str

    def __call__(self, schedule: Schedule) -> Schedule:
        limit, tau = schedule.concurrency_max, schedule.delay
        if self.form == "ratio":
            factor = limit / np.maximum(limit, tau)
        elif self.form == "inverse":
            factor = np.where(tau <= limit, 1.0, 1.0 / np.maximum(tau, 1))
        else:
            factor = (tau <= limit).astype(np.float64)
        return dataclasses.replace(schedule, weight=schedule.weight * factor)


@dataclasses.dataclass(frozen=True)
class Staleness:
    """Multiplies weights by s(tau) of the delay tau, see `staleness_aware`."""

    kind: str
    a: float
    b: float

    def factor(self, delay: NDArray[np.int32]) -> NDArray[np.float64]:
        """Returns s(tau), float64 like `delay`.

        Example:
            >>> Staleness("polynomial", 0.5, 0.0).factor(np.array([0, 3]))
            array([1. , 0.5])
        """
        tau = delay.astype(np.float64)
        if self.kind == "polynomial":
            return (1.0 + tau) ** -self.a
        if self.kind == "exponential":
            return np.exp(-self.a * tau)
        return 1.0 / (self.a * np.maximum(tau - self.b, 0.0) + 1.0)

    def __call__(self, schedule: Schedule) -> Schedule:
        if schedule.table is not None:
            raise ValueError(
                "staleness_aware: inner must be an algorithm without a table, for "
                "example algorithms.fedbuff(), got one that remembers gradients"
            )
        factor = self.factor(schedule.delay)
        return dataclasses.replace(schedule, weight=schedule.weight * factor)


@register("homogeneous")
def delay_adaptive(form: str = "ratio") -> Algorithm:
    """Pure asynchronous SGD whose step shrinks with the delay.

    ::

        loop: g of i arrives with delay tau;  x <- x - gamma s(tau) g
              i starts at the new x

    Source: with tau_C = n jobs in flight, s(tau) is one of the published forms

    - "ratio", tau_C / max(tau_C, tau): Mishchenko, Bach, Even, Woodworth 2022 (arXiv
      2206.07638), as coded in the authors' notebook; min(1, tau_C / tau), found in a
      port, is the same number;
    - "inverse", 1 where tau <= tau_C, else 1 / tau: Koloskova, Stich, Jaggi 2022 (arXiv
      2206.08307), whose Theorem 8 asks for less than min(gamma, 1 / (4 L tau)) there,
      and whose practical rule is a step of at most eta / tau;
    - "drop", 1 where tau <= tau_C, else 0: the same theorem with late gradients left
      out. They are rows of weight 0 and their steps move nothing.

    The delay is tau = steps between read and arrival; Mishchenko's notebook counts
    arrivals since the worker's last one, which is tau + 1. For homogeneous data:
    Koloskova et al. note that such steps favour fast workers.

    Args:
        form: "ratio", "inverse" or "drop".

    Raises:
        ValueError: for another form.

    Example:
        >>> delay_adaptive("inverse").transforms
        (DelayWeights(form='inverse'),)
    """
    check_choice("delay_adaptive: form", form, FORMS)
    return Algorithm(name="delay_adaptive", transforms=(DelayWeights(form),))


@register("heterogeneous", state="as the inner algorithm")
def staleness_aware(
    inner: Algorithm | RoundAlgorithm | None = None,
    *,
    kind: str = "polynomial",
    a: float = 0.5,
    b: float = 4.0,
) -> Algorithm | RoundAlgorithm:
    """Another algorithm, FedBuff unless told otherwise, with weights s(tau).

    ::

        where the inner algorithm adds w g, add w s(tau) g
        s(tau) = (1 + tau)^-a                              "polynomial"
               = 1 if tau <= b else 1 / (a (tau - b) + 1)  "hinge"
               = exp(-a tau)                               "exponential"

    Source: the usual choice s(tau) = 1 / sqrt(1 + tau) of FedBuff (Nguyen et al. 2021,
    arXiv 2106.06639) is the default; the polynomial and hinge families are those of
    FedAsync (Xie, Koyejo, Gupta 2019). All from memory, not checked against the texts.
    For heterogeneous data too, but late gradients count less, and so do slow workers.

    Args:
        inner: the algorithm; the default is `fedbuff()`.
        kind: "polynomial", "hinge" or "exponential".
        a: > 0.
        b: >= 0, for "hinge".

    Raises:
        TypeError, ValueError: if an argument is not as described. `simulate` raises a
            ValueError where the inner algorithm remembers gradients.

    Example:
        >>> staleness_aware(kind="exponential", a=0.1).gradients_per_step
        10
    """
    inner = fedbuff() if inner is None else declared("staleness_aware", inner)
    check_choice("staleness_aware: kind", kind, KINDS)
    a = check_number("staleness_aware: a", a, above=0)
    b = check_number("staleness_aware: b", b, minimum=0, finite=False)
    return dataclasses.replace(
        inner,
        name="staleness_aware",
        transforms=(*inner.transforms, Staleness(kind, a, b)),
    )


_RINGMASTER = dict(bounded_delay=True, discards=True, knows="R, from sigma^2 / eps")


@register("homogeneous", **_RINGMASTER)
def ringmaster(max_delay: Count | None = "all") -> Algorithm:
    """Ringmaster ASGD without stops: gradients of delay R and more are ignored.

    ::

        loop: g of i arrives with delay tau
              if tau < R: x <- x - gamma g
              i starts at the current x

    Source: Maranjyan, Tyurin, Richtarik 2025 (arXiv 2501.16168); this variant as
    generally described, not checked against the text. For homogeneous data. The
    recommended R = max(1, ceil(sigma^2 / eps)) (`noise_batch`) has the same provenance.

    Args:
        max_delay: R >= 1; the default is n; None = no limit (pure asynchronous SGD).

    Example:
        >>> ringmaster(6).max_delay
        6
    """
    return Algorithm(name="ringmaster", max_delay=max_delay)


@register("homogeneous", **_RINGMASTER)
def async_local(max_delay: Count | None = "all") -> Algorithm:
    """Recalled: Async-Local SGD, workers make M local steps, late reports are ignored.

    ::

        loop: worker i: y_0 = x;  y_{m+1} = y_m - gamma g(y_m), m = 0..M-1
              sum_m g(y_m) of i arrives with delay tau
              if tau < R: x <- x - gamma sum_m g(y_m)
              i starts at the current x

    The M local steps are the problem's: run it on `ag.local_steps(problem, M, gamma)`
    with step_size = gamma, and with `compute_times.repeated(times, M)`. Otherwise, M =
    1, it is `ringmaster`.

    Source: Birch SGD (Tyurin, Sivtsov 2025), recalled, not checked against the text,
    with the delay counted in server steps. For homogeneous data.

    Args:
        max_delay: R >= 1; the default is n; None = no limit.

    Example:
        >>> async_local(6).max_delay
        6
    """
    return Algorithm(name="async_local", max_delay=max_delay)


@register("homogeneous", **_RINGMASTER)
def ringmaster_stops(max_delay: Count | None = "all") -> Algorithm | RoundAlgorithm:
    """Ringmaster ASGD with stops: a job whose delay reaches R is stopped.

    ::

        loop: g of i arrives;  x <- x - gamma g
              the delay of every running job grows by 1
              i, and the workers whose delay has reached R, start at the new x

    Source: Maranjyan, Tyurin, Richtarik 2025 (arXiv 2501.16168), as in the published
    code (class RingmasterASGD of `ringmaster-lmo`). For homogeneous data.

    Args:
        max_delay: R >= 1; the default is n; None = no limit (pure asynchronous SGD).

    Example:
        >>> ringmaster_stops(6).max_delay
        6
    """
    if max_delay is None:
        return Algorithm(name="ringmaster_stops")
    return RoundAlgorithm(
        name="ringmaster_stops", gradients_per_step=1, max_delay=max_delay
    )


def declared(name: str, inner: Any) -> Any:
    """Returns an algorithm that another one can be built on, or raises a TypeError."""
    if not isinstance(inner, (Algorithm, RoundAlgorithm, EventMethod)):
        raise TypeError(
            f"{name}: inner must be an Algorithm or RoundAlgorithm, for example "
            f"algorithms.pure_async(), got {inner!r}"
        )
    return inner
