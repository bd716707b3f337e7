from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from cloud.retrain.job import TrainJob
from cloud.retrain.launch import launch
from cloud.retrain.launchers.options import LaunchKind, LaunchOptions
from cloud.retrain.progress import Progress
from contract.errors import BadDataset, InvalidConfig, LinkDown
from tests.cloud.retrain.cut_link import CutLink
from tests.cloud.retrain.pictures import QUICK, quick_job, write_folders
from tests.cloud.retrain.ray_cluster import ray_cluster

# Ray's own client asks aiohttp for something deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:ssl=None is deprecated")


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    with ray_cluster() as address:
        yield address


def _job(folder: Path, *, steps: int = 30) -> TrainJob:
    recipe = msgspec.structs.replace(QUICK, min_steps=steps, epochs=1)
    return msgspec.structs.replace(quick_job(write_folders(folder / "data"), folder / "run"), recipe=recipe)


def _on(address: str, processes: int = 1) -> LaunchOptions:
    return LaunchOptions(kind=LaunchKind.RAY, ray_address=address, processes=processes)


@pytest.mark.long
def test_ray_job_trains_a_model_and_its_log_is_read_on_after_a_cut_link(cluster: str, tmp_path: Path) -> None:
    shown: list[Progress] = []
    cuts: list[int] = []

    def cut_once(progress: Progress) -> None:
        shown.append(progress)
        if progress.stage == "read images" and not cuts:
            cuts.append(link.cut())

    with CutLink(int(cluster.rpartition(":")[2])) as link:
        info = launch(_job(tmp_path), _on(link.address), cut_once)
    assert cuts[0] >= 1, "the log was being read over a connection that was cut"
    assert info.figures.world_size == 1 and info.figures.steps == 30
    assert info.figures.holdout_accuracy is not None and info.figures.holdout_accuracy >= 0.7
    assert shown[0].text.startswith("job raysubmit_") and shown[0].text.endswith(link.address)
    trained = [p for p in shown if p.stage == "train"]
    assert trained[-1].done == 30 and len({p.done for p in trained}) == len(trained), "no line is told twice"
    assert len([p for p in shown if p.stage == "read images"]) == 2


@pytest.mark.long
def test_job_stopped_here_stops_there_and_its_submission_is_followed_again(cluster: str, tmp_path: Path) -> None:
    from ray.job_submission import JobSubmissionClient

    job = _job(tmp_path, steps=30_000)
    client = JobSubmissionClient(cluster)

    class _LinkGone(LinkDown):
        pass

    def lose_link(progress: Progress) -> None:
        if progress.stage == "train":
            raise _LinkGone("for the test")

    with pytest.raises(_LinkGone):
        launch(job, _on(cluster, 2), lose_link)
    with pytest.raises(InvalidConfig, match="is training into"):
        launch(job, _on(cluster, 2))
    told: list[str] = []

    def stop(progress: Progress) -> None:
        told.append(progress.text)
        if progress.stage == "train":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        launch(msgspec.structs.replace(job, resume=True), _on(cluster, 2), stop)
    job_id = told[0].split()[1]
    mine = [each for each in client.list_jobs() if f"{tmp_path}" in each.entrypoint]
    assert [each.submission_id for each in mine] == [job_id], "the job was followed, not submitted again"
    assert client.get_job_status(job_id).value == "STOPPED"


@pytest.mark.long
def test_errors_on_the_node_come_back_as_themselves(cluster: str, tmp_path: Path) -> None:
    job = _job(tmp_path)
    (tmp_path / "data" / "good" / "torn.png").write_bytes(b"no image")
    with pytest.raises(BadDataset, match=r"torn\.png"):
        launch(job, _on(cluster))


def test_cluster_out_of_reach_is_said_with_its_address(tmp_path: Path) -> None:
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unheard.getsockname()[1]}"
        with pytest.raises(LinkDown, match=address) as caught:
            launch(_job(tmp_path), _on(address))
    assert "--ray-address" in caught.value.hint


def test_missing_ray_names_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray.job_submission", None)  # as Python marks a module that cannot be imported
    with pytest.raises(InvalidConfig, match="Ray, which is not installed") as caught:
        launch(_job(tmp_path), _on("http://127.0.0.1:9"))
    assert "pip install 'plumbline-edge[ray]'" in caught.value.hint
