"""Elastic averaging (EASGD): workers keep models of their own, pulled to a centre.

    python examples/elastic_averaging.py [--num-gradients 2000]

A worker's model outlives its job here, which no schedule speaks of. It goes into the
iterate: x = (centre, models of all workers). A job of worker i is Q local SGD steps
from its own model y_i; when it arrives, model and centre move towards each other,

    e = alpha (y_i' - centre);  centre <- centre + e;  y_i <- y_i' - e,

which a server does that is told who has arrived. The schedule is that of pure
asynchronous SGD, f is reported at the centre. Jobs in flight hold whole iterates, so
memory is n (n + 1) d numbers: for small models or few workers.

Source: Zhang, Choromanska, LeCun 2015 (arXiv 1412.6651), asynchronous EASGD without
momentum, recalled, not checked against the text.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import xarray as xr

import asgrad_jax as ag


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Elastic(ag.problems.SampledProblem):
    """Jobs that start at their worker's own model; the parameters are one vector."""

    jobs: Any  # what ag.local_steps returned

    @property
    def num_workers(self) -> int:
        """Number of workers n."""
        return self.jobs.num_workers

    def init_params(self) -> Any:
        """All models and the centre start at x_0."""
        x = np.asarray(self.jobs.init_params())
        return {"centre": x, "own": np.tile(x, (self.num_workers, 1))}

    def sample(self, worker, job, key) -> Any:
        """As the jobs' own."""
        return self.jobs.sample(worker, job, key)

    def gradients_with(self, params, worker, sample) -> Any:
        """(y_i - y_i') / eta_l in the place of worker i, 0 elsewhere."""
        way = self.jobs.gradients_with(params["own"][:, worker], worker, sample)
        nothing = jax.tree.map(jnp.zeros_like, params)
        return nothing | {"own": nothing["own"].at[:, worker].set(way)}

    def metrics(self, params) -> dict[str, jax.Array]:
        """Value and gradient norm of f at the centre."""
        return self.jobs.metrics(params["centre"])

    def local_gradients(self, params) -> Any:
        """Full gradients of every f_i at the centre, in its place."""
        n = self.num_workers
        nothing = jax.tree.map(lambda x: jnp.zeros((n, *x.shape), x.dtype), params)
        return nothing | {"centre": self.jobs.local_gradients(params["centre"])}


def elastic_server(step_size, alpha):
    """Moves the worker's model, then model and centre towards each other."""

    def init(params):
        del params
        return optax.EmptyState()

    def update(updates, state, params, *, worker):
        way = -step_size.astype(params["centre"].dtype) * updates["own"][worker]
        pull = alpha.astype(way.dtype) * (
            params["own"][worker] + way - params["centre"]
        )
        own = jnp.zeros_like(params["own"]).at[worker].set(way - pull)
        return {"centre": pull, "own": own}, state

    return optax.GradientTransformationExtraArgs(init, update)


def sweep(
    problem: Any, num_steps: int, step_size: float, alphas: Sequence[float], **grid: Any
) -> xr.Dataset:
    """Returns runs with Q local steps of one size, for every alpha."""
    return ag.sweep(
        Elastic(ag.local_steps(problem, num_steps, step_size)),
        algorithms="pure_async",
        step_sizes=[step_size],
        server=elastic_server,
        hyperparameters={"alpha": list(alphas)},
        **grid,
    )


def main(arguments: Sequence[str] | None = None) -> xr.Dataset:
    """Runs digits sorted by label with several alphas and prints where they end."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--num-gradients", type=int, default=2_000)
    given = parser.parse_args(arguments)
    problem = ag.logistic_regression(
        *ag.datasets.digits_binary(),
        10,
        batch_size=16,
        partition="sorted",
        drop_last=True,
        regularizer="l2",
        strength=0.01,
    )
    result = sweep(
        problem,
        4,
        2.0**-6,
        [0.0, 0.05, 0.2, 0.5],
        compute_times=ag.compute_times.repeated(
            ag.compute_times.exponential(np.arange(1.0, 11)), 4
        ),
        num_gradients=given.num_gradients,
        record_every=max(1, given.num_gradients // 10),
        seeds=range(3),
    )
    last = result["grad_norm"].isel(record=-1).median("seed").squeeze()
    for alpha in result["alpha"].values:
        print(f"alpha {alpha:5.2f}: gradient norm {float(last.sel(alpha=alpha)):.4f}")
    return result


if __name__ == "__main__":
    main()
