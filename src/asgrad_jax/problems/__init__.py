"""Problems: objectives with the gradients of n workers.

Ready ones are `logistic_regression`, `quadratic`, `ringmaster_quadratic`, `from_loss`
and `local_steps`; your own derives from `SampledProblem` or `VmappedProblem` (see
`Problem` for what the engine asks, `KnownConstants` for what theory asks).
`partition_rows` splits rows among workers.
"""

import lazy_loader as _lazy_loader

__getattr__, __dir__, __all__ = _lazy_loader.attach_stub(__name__, __file__)
