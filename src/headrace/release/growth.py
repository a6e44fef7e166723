"""Growth per unit of work of memory, sockets or descriptors over one soak run.

A leak is growth that goes with the work done, not with time: an idle machine leaks nothing. The warm-up is cut off,
for caches fill there. One run gives one number, and runs are the units of the test: the samples within a run are not
independent.
"""

import math
from collections.abc import Sequence
from itertools import combinations
from statistics import median

LEAST_SAMPLES = 5
WARM_UP_RATIO = 0.25
"""Share of the work that is not looked at. In runs of ours slab caches and nginx's open file cache level off within
it.
"""
MOST_SAMPLES = 200
"""More are thinned evenly: all pairs are compared."""


def growth_per_work(samples: Sequence[tuple[float, float]], *, warm_up_ratio: float = WARM_UP_RATIO) -> float | None:
    """Median slope (Theil 1950, Sen 1968) of `(work done so far, value)`, in the value's unit per unit of work.

    Robust: up to 29 % of the samples may be anything, for example taken while a collection was on.

    Returns:
        None where it cannot be told: fewer than five usable samples after the warm-up, or no work was done.
    """
    usable = [(work, value) for work, value in samples if math.isfinite(work) and math.isfinite(value)]
    if not usable:
        return None
    first, last = min(work for work, _ in usable), max(work for work, _ in usable)
    warm = [one for one in usable if one[0] >= first + warm_up_ratio * (last - first)]
    step = -(-len(warm) // MOST_SAMPLES) or 1
    warm = warm[::step]
    slopes = [
        (b - a) / (later - earlier) for (earlier, a), (later, b) in combinations(sorted(warm), 2) if later > earlier
    ]
    return median(slopes) if len(warm) >= LEAST_SAMPLES and slopes else None
