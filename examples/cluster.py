# %% [markdown]
# # A sweep on a cluster
#
# A sweep is cut into calls, and a Dask client runs them. Here it is a client of this
# machine; with the address of a scheduler, or a `SLURMCluster`, the rest stays the
# same. Needs `pip install 'asgrad-jax[cluster]'`; runs as `python examples/cluster.py`.

# %%
import numpy as np

import asgrad_jax as ag

# %% tags=["parameters"]
NUM_GRADIENTS = 20_000
NUM_PROCESSES = 2
OUT = "asgrad-cluster-run"  # finished lanes and checkpoints

# %% [markdown]
# ## What is to be run
#
# `grid.dry_run()` says how it will be cut into calls and what memory it needs.

# %%
grid = ag.Grid(
    ag.quadratic(num_workers=10, num_features=50, heterogeneity=1.0, noise=0.1),
    algorithms=["pure_async", "shuffled_async", "fedbuff"],
    compute_times=ag.compute_times.exponential(range(1, 11)),
    step_sizes=2.0 ** -np.arange(3, 10),
    seeds=range(4),
    num_gradients=NUM_GRADIENTS,
)

# %% [markdown]
# ## Run it
#
# Each process imports this file, so what must run once is behind `if __name__`. After a
# stop the same call goes on; if a process dies, only what its calls did since their
# last checkpoint is lost.


# %%
def main():
    from dask.distributed import Client, LocalCluster

    local = LocalCluster(
        n_workers=NUM_PROCESSES, threads_per_worker=1, dashboard_address=None
    )
    with local as cluster, Client(cluster) as client:
        return ag.sweep(grid, client=client, directory=OUT)


if __name__ == "__main__":
    print(grid.dry_run())
    result = main()
    print(ag.best(result)[["step_size", "value"]].to_dataframe())

# %% [markdown]
# The same from the shell, for a sweep in a config file: `asgrad sweep experiment.toml
# --cluster local`, or `--scheduler HOST:8786`.
