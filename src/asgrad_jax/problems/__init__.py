"""Problems: objectives with the gradients of n workers.

Of your own: a class with the methods of `Problem`, and those of `KnownConstants` for
what it knows of itself.
"""

from asgrad_jax.problems.constants import KnownConstants as KnownConstants
from asgrad_jax.problems.constants import LowerBound as LowerBound
from asgrad_jax.problems.constants import NoiseVariance as NoiseVariance
from asgrad_jax.problems.constants import Smoothness as Smoothness
from asgrad_jax.problems.constants import batch_variance as batch_variance
from asgrad_jax.problems.eigenvalues import (
    mean_gram_eigenvalues as mean_gram_eigenvalues,
)
from asgrad_jax.problems.problem import Problem as Problem
from asgrad_jax.problems.regularizers import Regularizer as Regularizer
from asgrad_jax.problems.regularizers import (
    register_regularizer as register_regularizer,
)
