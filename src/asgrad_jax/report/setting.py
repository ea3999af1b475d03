"""What a config knows that its result does not."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from asgrad_jax.report.verdicts import Claim


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
    """What a page shows besides the result.

    Attributes:
        problem: the problem that was swept.
        algorithms: label -> algorithm.
        compute_times: label -> compute times.
        config: the config file as text.
        data: which data the problem has, in words; "" for one without.
        scale: which of the config's scales was run, "" if it has none.
        summary: a paragraph on what is compared.
        sources: keys of `references.bib`.
        numbers: what -> where its value is from.
        deviations: in what the experiment differs from its source.
        claims: what the sweep is to show.
        bits_up, bits_down: of an uploaded gradient and a downloaded iterate, >= 0;
            None: the parameters in the run's precision.
    """

    problem: Any
    algorithms: Mapping[str, Any]
    compute_times: Mapping[str, Any]
    config: str
    data: str = ""
    scale: str = ""
    summary: str = ""
    sources: tuple[str, ...] = ()
    numbers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    deviations: tuple[str, ...] = ()
    claims: tuple[Claim, ...] = ()
    bits_up: float | None = None
    bits_down: float | None = None
