"""The tests' own server of pages: it starts whatever else the process has loaded, and says so where it does not."""

from __future__ import annotations

import gc
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from fastapi import FastAPI
from nicegui import ui

from tests.browser.conftest import serve_pages


class OutOfDate:
    """Warns whoever asks what it is, as `torch.distributed.reduce_op` does."""

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        warnings.warn("use another", FutureWarning, stacklevel=2)
        return OutOfDate


@pytest.mark.slow
def test_what_warns_when_it_is_looked_at_keeps_no_server_from_starting() -> None:
    # NiceGUI asks every object that the collector knows whether it is its server, the oldest of the youngest first.
    gc.disable()
    looked_at = [OutOfDate()]
    app = FastAPI()
    ui.run_with(app, show_welcome_message=False, reconnect_timeout=0.2)
    pages = serve_pages(app)
    try:
        assert httpx.get(f"{next(pages)}/nothing", timeout=60).status_code == 404
    finally:
        gc.enable()
        next(pages, None)
    assert len(looked_at) == 1


# uvicorn leaves its thread by SystemExit then, and pytest would tell of that.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_server_that_does_not_start_is_an_error_and_no_endless_wait() -> None:
    @asynccontextmanager
    async def broken(_app: FastAPI) -> AsyncIterator[None]:
        raise OSError("no such file")
        yield

    with pytest.raises(AssertionError, match="did not start"):
        next(serve_pages(FastAPI(lifespan=broken)))
