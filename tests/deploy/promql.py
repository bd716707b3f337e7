"""The metrics that a PromQL expression names."""

from __future__ import annotations

import re

_WORDS = frozenset(
    re.findall(
        r"\w+",
        """
        sum min max avg count count_values topk bottomk quantile stddev stdvar group by without on ignoring
        group_left group_right and or unless bool offset rate irate increase delta idelta deriv predict_linear
        histogram_quantile time vector scalar label_replace label_join label_values abs ceil floor round clamp
        clamp_min clamp_max absent absent_over_time changes resets avg_over_time min_over_time max_over_time
        sum_over_time last_over_time timestamp sort sort_desc inf nan
        """,
    )
)


def names_in(expression: str) -> set[str]:
    """Return them: words that are no function, no keyword, no label and no text."""
    plain = re.sub(r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'", "", expression)
    plain = re.sub(r"\{[^}]*\}", "", plain)
    plain = re.sub(r"\[[^\]]*\]", "", plain)
    plain = re.sub(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", "", plain)
    words = re.findall(r"[a-zA-Z_:][a-zA-Z0-9_:]*", plain)
    return {word for word in words if word.lower() not in _WORDS}
