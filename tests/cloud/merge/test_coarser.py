"""A coarse summary says of its windows what they said one by one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cloud.merge.coarser import merge_summaries
from contract.messages import Accounting, Header, OpinionsNote, ShadowNote, Summary

COUNTS = st.dictionaries(st.sampled_from(["unsure", "late"]), st.integers(0, 9))
ACCOUNTS = st.builds(Accounting, captured=st.integers(0, 99), passed=st.integers(0, 9), review=COUNTS, dropped=COUNTS)


EMPTY = Accounting()


def told(seq: int, accounting: Accounting = EMPTY, **other: object) -> Summary:
    header = Header("s1", "b1", seq, 60.0 * seq, 60.0 * seq + 60, float(seq), seq != 2, "d" * 64, camera="left")
    return Summary(header, accounting, **other)  # type: ignore[arg-type]


@given(st.lists(ACCOUNTS, min_size=1, max_size=8))
def test_counts_add_up_whatever_is_merged_first(accounts: list[Accounting]) -> None:
    summaries = [told(seq, each) for seq, each in enumerate(accounts, 1)]
    ((whole, places),) = merge_summaries(summaries)
    assert places == list(range(len(summaries)))
    assert (whole.header.seq, whole.header.started_at) == (len(summaries), 60.0)
    assert whole.header.ended_at == 60.0 * len(summaries) + 60 and whole.header.camera == "left"
    for name in ("captured", "passed", "decided"):
        assert getattr(whole.accounting, name) == sum(getattr(each, name) for each in accounts)
    for cause in ("unsure", "late"):
        assert whole.accounting.dropped.get(cause, 0) == sum(each.dropped.get(cause, 0) for each in accounts)
    half = len(summaries) // 2
    parts = [merged for some in (summaries[:half], summaries[half:]) for merged, _ in merge_summaries(some)]
    assert merge_summaries(parts)[0][0].accounting == whole.accounting


def test_the_newest_shadow_note_stands_and_opinions_add_up() -> None:
    old, new = ShadowNote("c" * 64, "d1", 10, 9), ShadowNote("c" * 64, "d1", 20, 19)
    first = told(1, shadow=old, opinions=OpinionsNote(queued=3, answered=2, passed=2, gone={"full": 1}))
    second = told(2, shadow=new, opinions=OpinionsNote(queued=1, gone={"full": 2, "late": 1}))
    ((whole, _),) = merge_summaries([first, second, told(3)])
    assert whole.shadow == new and not whole.header.clock_synced and whole.note == "3 windows in one"
    assert whole.opinions == OpinionsNote(queued=4, answered=2, passed=2, gone={"full": 3, "late": 1})
    assert merge_summaries([first]) == [(first, [0])]
