"""The same perceptron in PyTorch: an event loop that runs one lane at a time."""

import numpy as np


def torch_loop(torch, problem, schedule, *, step_size: float = 0.01):
    """Asynchronous SGD on `ag.problems.mlp` as one writes it in PyTorch.

    A gradient by autograd for every arrival, at the iterate that was read; parameters
    are tensors, and the server step is made in place of nothing: every iterate that is
    still to be read stays.

    Args:
        torch: the module.
        problem: what `ag.problems.mlp` returned, with stacked shards.
        schedule: whose every arrival makes a step.
        step_size: of the lane.

    Returns:
        A function that runs the lane and returns the last iterate, a list of arrays:
        weights and biases of each layer.
    """
    functional = torch.nn.functional
    features = torch.from_numpy(np.asarray(problem.data["features"], np.float32))
    labels = torch.from_numpy(np.asarray(problem.data["labels"], np.int64))
    layers = problem.init_params().values()
    start = [
        torch.from_numpy(np.asarray(leaf, np.float32).copy())
        for layer in layers
        for leaf in (layer["weight"], layer["bias"])
    ]
    b, m = problem.batch_size, problem.shard_rows
    workers, jobs = schedule.worker.tolist(), schedule.job.tolist()
    reads = schedule.read.tolist()
    last = {v: a for a, v in enumerate(reads)}
    offsets = torch.arange(b)

    def gradient(params, worker, job):
        rows = (job * b + offsets) % m
        leaves = [p.detach().requires_grad_() for p in params]
        found = features[worker, rows]
        for at in range(0, len(leaves), 2):
            if at:
                found = found.relu()
            found = torch.addmm(leaves[at + 1], found, leaves[at])
        loss = functional.cross_entropy(found, labels[worker, rows])
        return torch.autograd.grad(loss, leaves)

    def go():
        x, history = start, {0: start}
        for a, v in enumerate(reads):
            found = gradient(history[v], workers[a], jobs[a])
            with torch.no_grad():
                x = [p - step_size * g for p, g in zip(x, found, strict=True)]
            if last[v] == a:
                del history[v]
            if a + 1 in last:
                history[a + 1] = x
        return [p.numpy() for p in x]

    return go
