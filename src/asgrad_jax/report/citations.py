"""BibTeX of what a run rests on."""

import re
from collections.abc import Iterable
from importlib import resources

import xarray as xr

from asgrad_jax import algorithms as known
from asgrad_jax._util.checks import check_type
from asgrad_jax._util.docstrings import docstring
from asgrad_jax.results.results import sweep_config

# Which papers the algorithms are from, where it is not plain from the preset.
_ALGORITHMS = {
    "pure_async": "asgrad",
    "random_async": "koloskova2022",
    "shuffled_async": "asgrad",
    "pure_waiting": "asgrad",
    "random_waiting": "asgrad",
    "shuffled_waiting": "asgrad",
    "fedbuff": "fedbuff",
    "delay_adaptive": "mishchenko2022",
    "ringmaster": "ringmaster",
    "ringmaster_stops": "ringmaster",
    "naive_optimal": "ringmaster",
    "rennala": "rennala",
    "rennala_restart": "rennala",
    "malenia": "rennala",
    "ringleader": "ringleader",
    "rescaled": "rescaled",
    "mindflayer": "mindflayer",
    "vecna": "mindflayer",
    "ata": "ata",
    "gta": "ata",
    "uta": "ata",
    "ofta": "ata",
    "generalized_async": "generalized",
    "dude_asgd": "dude",
    "ia2sgd": "dude",
    "ca2fl": "ca2fl",
    "clipped": "clipped",
    "clipped_random": "clipped",
    "picky": "picky",
    "async_minibatch": "asyncminibatch",
}
_ALWAYS = ("asgrad_jax", "jax")


def bibtex(sources: Iterable[str], algorithms: Iterable[str]) -> str:
    """Entries for a preset's sources, the algorithms that ran, and the software.

    Args:
        sources: keys of `references.bib`.
        algorithms: names in the registry; unknown ones are left out.

    Raises:
        ValueError: for a source that is not in the file.

    Example:
        >>> text = bibtex(["rennala"], ["pure_async"])
        >>> [line for line in text.splitlines() if line.startswith("@")][:2]
        ['@inproceedings{rennala,', '@inproceedings{asgrad,']
    """
    entries = references()
    wanted = [*sources, *(_ALGORITHMS[a] for a in algorithms if a in _ALGORITHMS)]
    for key in wanted:
        if key not in entries:
            raise ValueError(f"about: source {key!r} must be one of {sorted(entries)}")
    return "\n\n".join(entries[key] for key in dict.fromkeys([*wanted, *_ALWAYS]))


def citation(result: xr.Dataset) -> str:
    """Returns BibTeX of the methods that a result compares, and of the software.

    A method whose entry is not at hand is named in a comment (%), with what its
    docstring says of its source. Titles and authors were checked against arXiv's or the
    proceedings' pages; a preprint's entry may have been published since.

    Args:
        result: what `sweep`, `tune` or `load` returned.

    Raises:
        TypeError, ValueError: if it is no such dataset.

    Example:
        >>> import asgrad_jax as ag
        >>> result = ag.sweep(
        ...     ag.quadratic(num_workers=2, num_features=2), algorithms="fedbuff",
        ...     compute_times=ag.compute_times.fixed([1, 2]), step_sizes=[0.1],
        ...     num_gradients=20)
        >>> text = ag.citation(result)
        >>> [line for line in text.splitlines() if line.startswith("@")]
        ['@inproceedings{fedbuff,', '@misc{asgrad_jax,', '@misc{jax,']
    """
    check_type("result", result, xr.Dataset, "the dataset of a sweep")
    asked = sweep_config(result)["algorithms"].values()
    names = dict.fromkeys(a["name"] for a in asked if isinstance(a, dict))
    comments = [f"% {n}: {_source(n)}\n" for n in names if n not in _ALGORITHMS]
    return "".join(comments) + bibtex((), names)


def _source(name: str) -> str:
    """What the docstring of a method says of its source, on one line."""
    text = docstring(getattr(known, name)) if name in known.names() else ""
    found = re.search(r"^Source: (.*?)(?:\n\n|\Z)", text, re.S | re.M)
    return " ".join(found[1].split()) if found else "a method of your own"


def references() -> dict[str, str]:
    """All known entries, key -> BibTeX."""
    file = resources.files("asgrad_jax.report") / "references.bib"
    entries = re.split(r"\n(?=@)", file.read_text("utf-8").strip())
    return {e.split("{")[1].split(",")[0]: e.strip() for e in entries}
