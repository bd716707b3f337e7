"""How often parts set aside find a broken promise out, exactly: `python -m scripts.benches.look_power`.

Of the labelled parts a share is set aside, of these each passes by itself with probability `passing`, and of what passes a share
`missed` is defects. The gate refutes (or the threshold goes up) from so many misses on; no draw is made, all are summed over.
"""

from __future__ import annotations

from functools import lru_cache

from scipy.stats import binom

from cloud.gate.look_checks import refutes
from cloud.gate.scorecard import Promise

LABELLED, SHARES, MISSED = (40, 100, 120, 300), (0.15, 0.2, 0.3, 0.5), (0.02, 0.1, 0.2, 0.4)
PROMISED = Promise()


@lru_cache(maxsize=4096)
def least_refuting(passed: int, promise: Promise = PROMISED) -> int:
    """Return from how many misses among `passed` on the promise is refuted; `passed` + 1 where none are enough."""
    return next((missed for missed in range(passed + 1) if refutes(missed, passed, promise)), passed + 1)


def power(aside: int, missed: float, passing: float = 0.5, promise: Promise = PROMISED) -> float:
    """Return how likely a look of `aside` parts refutes the promise.

    Args:
        missed: the share of defects among what passes; at the promise itself, the result is how often it is refuted in vain.
        passing: the share of the parts that passes by itself.
    """
    return float(
        sum(
            binom.pmf(passed, aside, passing) * binom.sf(least_refuting(passed, promise) - 1, passed, missed)
            for passed in range(aside + 1)
        )
    )


def power_of_no_miss(aside: int, missed: float, passing: float = 0.5) -> float:
    """Return how likely a single miss is among them, which `no_miss` answers; so few parts never show the promise beside one."""
    return 1 - (1 - passing * missed) ** aside


def main() -> None:
    """Print how many of 100 are caught, by labelled parts and share, half of those set aside passing."""
    print("of 100 caught where so much of what passes is defects (2 % is promised)")
    heads = "".join(f"{missed:>5.0%}" for missed in MISSED)
    print(f"labelled  share  aside  by default {heads}   with no_miss {heads}")
    for labelled in LABELLED:
        for share in SHARES:
            aside = round(labelled * share)
            caught = "".join(f"{100 * power(aside, missed):>5.0f}" for missed in MISSED)
            strict = "".join(f"{100 * power_of_no_miss(aside, missed):>5.0f}" for missed in MISSED)
            print(f"{labelled:>8}{share:>7.2f}{aside:>7}{'':13}{caught}{'':16}{strict}")


if __name__ == "__main__":
    main()
