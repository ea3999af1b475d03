"""Bounds, theorem by theorem: one record each, and a registry of all.

`names()` and `get(name)` give the records, docs/bounds.md shows them, and `bound`
registers one of your own.
"""

# In the order of their page.
# isort: off
from asgrad_jax.theory.bounds import homogeneous as homogeneous
from asgrad_jax.theory.bounds import times as times
from asgrad_jax.theory.bounds import heterogeneous as heterogeneous
from asgrad_jax.theory.bounds import round_times as round_times
from asgrad_jax.theory.bounds import own_theorem as own_theorem
from asgrad_jax.theory.bounds import own_proof as own_proof

# isort: on
from asgrad_jax.theory.bounds.arguments import Argument as Argument
from asgrad_jax.theory.bounds.registry import GRADIENT_SQ as GRADIENT_SQ
from asgrad_jax.theory.bounds.registry import TAGS as TAGS
from asgrad_jax.theory.bounds.registry import Bound as Bound
from asgrad_jax.theory.bounds.registry import bound as bound
from asgrad_jax.theory.bounds.registry import get as get
from asgrad_jax.theory.bounds.registry import names as names
from asgrad_jax.theory.bounds.registry import page as page
