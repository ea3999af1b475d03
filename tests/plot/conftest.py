"""All figures of `ag.plot`, small, to be drawn in any size and on any axes."""

import pytest

import asgrad_jax as ag

TIMES = ag.compute_times.fixed([1, 2])
PROBLEM = ag.quadratic(num_workers=2, num_features=2)
SCHEDULE = ag.simulate("pure_async", TIMES, num_gradients=60)
SPLIT = ag.splits.contiguous([0, 0, 1, 1], num_workers=2)


@pytest.fixture(scope="session")
def figures():
    """Makers of all figures of `ag.plot`, with how many axes each takes."""
    result = ag.sweep(
        PROBLEM,
        algorithms="pure_async",
        compute_times=TIMES,
        step_sizes=[0.01, 0.05, 0.25],
        num_gradients=60,
    )
    advice = {"pure_async": ag.theory.step_sizes(PROBLEM, SCHEDULE)}
    certificate = ag.theory.certificate(PROBLEM, SCHEDULE, 0.01)
    return {
        "convergence": (3, lambda **given: ag.plot.convergence(result, **given)),
        "step_sizes": (1, lambda **given: ag.plot.step_sizes(result, **given)),
        "split": (2, lambda **given: ag.plot.split(SPLIT, **given)),
        "schedule": (4, lambda **given: ag.plot.schedule(SCHEDULE, **given)),
        "correlation_profile": (
            1,
            lambda **given: ag.plot.correlation_profile(SCHEDULE, PROBLEM, **given),
        ),
        "certificate": (1, lambda **given: ag.plot.certificate(certificate, **given)),
        "step_size_advice": (
            2,
            lambda **given: ag.plot.step_size_advice(result, advice, **given),
        ),
        "time_to_accuracy": (
            1,
            lambda **given: ag.plot.time_to_accuracy(result, TIMES, PROBLEM, **given),
        ),
    }
