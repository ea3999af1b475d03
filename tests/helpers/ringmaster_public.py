"""Plays methods of the public repository `ringmaster-lmo`, writes their schedules.

    cd tests
    python helpers/ringmaster_public.py PATH > algorithms/ringmaster_public.json

PATH is a checkout of github.com/vectozavr/ringmaster-lmo (recorded at commit c2ebc8a).
Its servers and its simulated transport run as they are, with five workers, delays by
the recipe of its `ringmaster.py` (square roots, half-normal noise of 5 %) and small
quadratics instead of a network; only calls of the transport are watched. Needs NumPy;
PyTorch, which its file imports for a type, is replaced by a stub where it is missing.
"""

import json
import sys
import types

import numpy as np

N, D, NOISE, GAMMA = 5, 3, 0.05, 0.05
MEAN = np.sqrt(np.arange(1, N + 1))

# name of ours: class of theirs, arguments, calls of its `step`.
METHODS = {
    "pure_async": ("AsynchronousSGD", {}, 60),
    "delay_adaptive": ("AsynchronousSGD", {"delay_adaptive": True}, 60),
    "ringmaster_stops": ("RingmasterASGD", {"max_delay": 6}, 60),
    "ringmaster_normalised": (
        "Momentum_Normalized_RingmasterASGD",
        {"threshold": 6, "alpha": 0.3},
        60,
    ),
    "ringmaster_agnostic": (
        "Momentum_Normalized_RingmasterASGD",
        {"parameter_agnostic": True},
        60,
    ),
    "rennala_restart": ("RennalaSGD", {"batch_size": 7}, 9),
    "quotas": (
        "RennalaWithFixedBatchSizes",
        {"number_of_gradients": [3, 2, 2, 1, 1]},
        7,
    ),
    "malenia": ("MaleniaSGD", {}, 8),
    "minibatch": ("MiniBatchSGD", {}, 12),
    "ia2sgd": ("IAASGD", {}, 11),
    "ringleader": ("RingleaderASGD", {}, 11),
    "ata": (
        "ATA",
        {"batch_size": 5, "alpha": 0.003, "negative_strategy": "uniform"},
        12,
    ),
}


class Loss:
    """f_i(x) = x^T A_i x / 2 - b_i^T x with A_i diagonal."""

    def __init__(self, worker):
        self.diagonal = 0.2 + ((worker + np.arange(D)) % N) / N
        self.linear = np.cos(1.0 + worker + 2.0 * np.arange(D))

    def stochastic_gradient(self, point):
        return self.diagonal * point - self.linear


def load(path):
    """Imports the repository's modules."""
    try:
        import torch  # noqa: F401
    except ImportError:
        stub = types.ModuleType("torch")
        stub.Tensor = type("Tensor", (), {})
        sys.modules["torch"] = stub
    vars(np)["infty"] = np.inf  # removed from NumPy 2; its ATA uses it
    sys.path.insert(0, path)
    from src.asynchronous import algorithm, asynchronous_transport
    from src.signature import Signature

    return (
        algorithm,
        asynchronous_transport.RandomDelayedAsynchronousTransport,
        Signature,
    )


class Log:
    """What is seen: durations, and arrivals as (worker, job, read, time)."""

    def __init__(self, transport):
        self.transport = transport
        self.durations = [[] for _ in range(N)]
        self.running = {}
        self.rows = []
        self.points = {}
        self.now = 0.0
        for name in ("call_available_node_method", "call_ready_node", "ignore_node"):
            setattr(transport, name, getattr(self, name)(getattr(transport, name)))
        transport.reset_all_nodes = self.reset(transport.reset_all_nodes)

    def call_available_node_method(self, original):
        def call(time, node_index, node_method, point):
            i = int(node_index)
            read = self.points.setdefault(point.tobytes(), len(self.points))
            end = original(time, i, node_method=node_method, point=point)
            self.running[i] = (len(self.durations[i]), read, float(time), float(end))
            self.durations[i].append(float(MEAN[i] + self.noise[i]))
            return end

        return call

    def call_ready_node(self, original):
        def call(time, node_index):
            i = int(node_index)
            job, read, _, end = self.running.pop(i)
            self.rows.append([i, job, read, end])
            self.now = end
            return original(time, i)

        return call

    def ignore_node(self, original):
        def call(time, node_index):
            self.running.pop(int(node_index))
            return original(time, node_index)

        return call

    def reset(self, original):
        def call(time=None):
            for i, (_, _, begin, _) in self.running.items():
                # Begun at the moment of the reset: it was never really there.
                if begin == self.now and self.rows:
                    self.durations[i].pop()
            self.running.clear()
            return original(time)

        return call

    noise = np.zeros(N)


def play(name, modules):
    """Returns what one method does, as numbers."""
    algorithm, transport_class, signature = modules
    kind, arguments, steps = METHODS[name]
    rng = np.random.default_rng(11)
    np.random.seed(0)  # noqa: NPY002  what its shares are drawn with
    noise = np.zeros(N)

    def draw(i):
        noise[i] = abs(rng.normal(loc=0.0, scale=NOISE * MEAN[i]))
        return noise[i]

    nodes = [
        signature(algorithm.StochasticGradientNodeAlgorithm, Loss(i)) for i in range(N)
    ]
    log = Log(transport_class(nodes, MEAN, draw))
    log.noise = noise
    server = getattr(algorithm, kind)(
        log.transport, np.zeros(D), gamma=GAMMA, **arguments
    )
    for _ in range(steps):
        server.step()
    # Servers of whole rounds ask their workers one after the other.
    log.rows.sort(key=lambda row: row[3])
    return {
        "class": kind,
        "arguments": arguments,
        "durations": [[round(s, 6) for s in own] for own in log.durations],
        "rows": [[*row[:3], round(row[3], 6)] for row in log.rows],
        "point": [float(x) for x in server.get_point()],
    }


if __name__ == "__main__":
    found = load(sys.argv[1])
    stdout, sys.stdout = sys.stdout, sys.stderr  # its servers print
    played = {name: play(name, found) for name in METHODS}
    lines = [f"{json.dumps(k)}: {json.dumps(v)}" for k, v in played.items()]
    stdout.write("{\n" + ",\n".join(lines) + "\n}\n")
