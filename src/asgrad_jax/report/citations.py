"""BibTeX of what a run rests on."""

import re
from collections.abc import Iterable
from importlib import resources

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


def references() -> dict[str, str]:
    """All known entries, key -> BibTeX."""
    file = resources.files("asgrad_jax.report") / "references.bib"
    entries = re.split(r"\n(?=@)", file.read_text("utf-8").strip())
    return {e.split("{")[1].split(",")[0]: e.strip() for e in entries}
