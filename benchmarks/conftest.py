"""The fixture that every benchmark reports through."""

import pytest

from benchmarks.timing import interleave


@pytest.fixture
def versus(benchmark, capsys):
    """Times the first entry against the others and reports rates and ratios.

    Called with {name: (function, units of work)}; the first is ours. `targets` maps
    other names to the ratio of rates that the project promises. Nothing is asserted:
    a benchmark shows, a test decides.
    """

    def run(cases, *, targets=None, rounds=7, unit="gradients/s"):
        seconds = interleave({k: f for k, (f, _) in cases.items()}, rounds=rounds)
        rates = {k: work / seconds[k] for k, (_, work) in cases.items()}
        ours = next(iter(cases))
        entries = benchmark.extra_info.setdefault("comparisons", [])
        with capsys.disabled():
            print(f"\n{benchmark.name}")
            for name, rate in rates.items():
                ratio = rates[ours] / rate
                target = (targets or {}).get(name)
                entries.append(
                    {
                        "case": benchmark.name,
                        "name": name,
                        "rate": rate,
                        "unit": unit,
                        "ratio": ratio,
                        "target": target,
                    }
                )
                wanted = "" if target is None else f"  (target {target:g}x)"
                print(f"  {name:24} {rate:14,.0f} {unit}   {ratio:6.2f}x{wanted}")
        if benchmark.stats is None:
            benchmark.pedantic(cases[ours][0], rounds=3)

    return run
