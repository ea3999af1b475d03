"""The example of a user's own method is as short as it claims to be."""

import ast
from pathlib import Path

import asgrad_jax as ag

EXAMPLE = Path(__file__).parents[2] / "examples" / "custom_method.py"


def test_the_method_is_short_and_saves_time():
    tree = ast.parse(EXAMPLE.read_text())
    (method,) = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    assert method.end_lineno - method.lineno < 30
    names = {"Decision": ag.algorithms.Decision}
    exec(compile(ast.Module([method], []), EXAMPLE.name, "exec"), names)
    times = ag.compute_times.exponential(range(1, 11))
    seconds = [
        [
            ag.simulate(algorithm, times, num_gradients=2_000, seed=seed).time[-1]
            for seed in range(5)
        ]
        for algorithm in (names["TwoChoices"](), "random_async")
    ]
    assert max(seconds[0]) < 0.8 * min(seconds[1])
