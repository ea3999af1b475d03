"""Captions call a problem by the name of what is inside."""

import numpy as np
import pytest

import asgrad_jax as ag
from asgrad_jax._util.text import problem_in_words
from asgrad_jax.experiments.fingerprint import describe_problem

ROWS = np.eye(4)
SIGNS = np.array([1.0, -1.0, 1.0, -1.0])


def squares(params, batch):
    """A loss with a name."""
    return ((batch - params) ** 2).sum(-1)


def measured(problem):
    return ag.problems.with_metrics(problem, {"far": lambda x, data: x.sum()}, ROWS)


LOGISTIC = ag.logistic_regression(ROWS, SIGNS, 2)
SQUARES = ag.problems.least_squares(ROWS, SIGNS, 1)
NAMES = [
    (ag.quadratic(2, 3), "quadratic"),
    (LOGISTIC, "logistic regression"),
    (SQUARES, "least squares"),
    (ag.problems.robust_regression(ROWS, SIGNS, 2), "huber"),
    (measured(LOGISTIC), "logistic regression"),
    (
        measured(ag.problems.shared_data(SQUARES, 3)),
        "least squares, the same data on all workers",
    ),
    (ag.local_steps(measured(LOGISTIC), 2, 0.1), "logistic regression, local steps"),
    (ag.from_loss(squares, np.zeros(4), ROWS, 2), "loss squares"),
    (ag.from_loss(lambda x, b: (x - b).sum(-1), ROWS[0], ROWS, 2), "loss over data"),
    (ag.problems.mlp(ROWS, [0, 1, 0, 1], 2), "loss over data"),
]


@pytest.mark.parametrize(("problem", "words"), NAMES)
def test_names(problem, words):
    assert problem_in_words(describe_problem(problem)) == words


def test_a_users_class_is_called_as_they_call_it():
    mine = {"class": "make.<locals>.MyProblem (code 0123456789abcdef)"}
    assert problem_in_words(mine) == "MyProblem"
    around = mine | {"problem": describe_problem(LOGISTIC)}
    assert problem_in_words(around) == "logistic regression, inside MyProblem"


def test_the_caption_of_a_problem_with_a_held_out_set():
    result = ag.sweep(
        measured(LOGISTIC),
        algorithms="pure_async",
        compute_times=ag.compute_times.fixed([1, 2]),
        step_sizes=[0.1],
        num_gradients=20,
    )
    caption = ag.plot.convergence(result).get_supxlabel()
    assert caption.startswith("Logistic regression. n = 2 workers")
    assert "WithMetrics" not in caption
