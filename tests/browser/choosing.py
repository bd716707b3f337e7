"""Choosing from a list as a person does, who looks whether it was taken and else chooses again."""

from __future__ import annotations

from playwright.sync_api import Locator, Page, expect

_TRIES = 4


def choose(page: Page, box: Locator, option: str) -> None:
    """Choose `option` in the list of `box`, a combobox.

    A list that opens while its dialog is still coming up, or while the page is drawn anew, may close under the pointer with nothing
    chosen. That a choice is lost once it was shown is not forgiven.
    """
    for attempt in range(_TRIES):
        box.click()
        page.get_by_role("option", name=option, exact=True).click()
        try:
            expect(box).to_have_value(option, timeout=60_000 if attempt == _TRIES - 1 else 5_000)
        except AssertionError:
            if attempt == _TRIES - 1:
                raise
        else:
            return
