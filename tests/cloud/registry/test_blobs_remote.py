"""Blobs in S3 keep the laws of blobs in a folder, and say so when S3 is away or holds something else."""

from __future__ import annotations

import hashlib
import os
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloud.ports.blobs import BlobStore
from cloud.registry.blob_cache import BlobCache
from cloud.registry.blobs import Blobs
from cloud.registry.keys import init_keys
from cloud.registry.object_store import FsspecStore, open_store
from cloud.registry.open_blobs import open_blobs
from cloud.registry.release import Registry, release_archive
from cloud.registry.remote_blobs import RemoteBlobs
from contract.errors import BadBundle, InvalidConfig, NotFound, StorageFull, TransientError
from tests.cloud.registry.s3_server import S3Server
from tests.tiny_bundle import write_bundle

LIMIT = 1 << 20
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "plumbline",
    "AWS_SECRET_ACCESS_KEY": "plumbline",
    "AWS_DEFAULT_REGION": "us-east-1",
}


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    pytest.importorskip("s3fs", reason="s3fs is not installed: pip install -e '.[scale]'")
    # Whatever credentials the machine has are none of these tests' business.
    before = dict(os.environ)
    os.environ |= CREDENTIALS | {"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": os.devnull}
    s3 = S3Server()
    first = open_store("s3://plumbline/x", s3.url)
    first.files.mkdir("s3://plumbline")
    first.close()
    yield s3
    s3.stop()
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def store(server: S3Server) -> Iterator[FsspecStore]:
    opened = open_store(f"s3://plumbline/{uuid.uuid4().hex}", server.url)
    yield opened
    opened.close()


@pytest.fixture
def cache(tmp_path: Path) -> BlobCache:
    return BlobCache(tmp_path / "cache", LIMIT, lambda: 1_000.0)


@pytest.fixture(params=["folder", "s3"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    if request.param == "folder":
        return Blobs(tmp_path / "blobs")
    return RemoteBlobs(request.getfixturevalue("store"), request.getfixturevalue("cache"))


def forget(blobs: BlobStore) -> None:
    """Empty the cache of a store that has one."""
    if isinstance(blobs, RemoteBlobs):
        for path in blobs.cache.folder.rglob("?" * 64):
            path.unlink()


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["put", "put_file", "path", "forget"]),
            st.sampled_from([b"", b"a", b"b" * 5_000, bytes(300)]),
        ),
        max_size=12,
    )
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=12)
def test_blobs_keep_the_same_laws_wherever_they_are(
    blobs: BlobStore, tmp_path: Path, steps: list[tuple[str, bytes]]
) -> None:
    kept: set[bytes] = set()
    example = uuid.uuid4().bytes  # one store serves all examples
    for what, ending in steps:
        content = example + ending
        if what == "forget":
            forget(blobs)
        elif what == "path":
            if content in kept:
                assert blobs.path(sha(content)).read_bytes() == content
            else:
                with pytest.raises(NotFound, match=sha(content)[:12]):
                    blobs.path(sha(content))
        else:
            (tmp_path / "source").write_bytes(content)
            put = blobs.put_file(tmp_path / "source") if what == "put_file" else blobs.put(content)
            assert put == sha(content)
            kept.add(content)
    for wrong in ("../" + sha(b""), "", "A" * 64):
        with pytest.raises(NotFound):
            blobs.path(wrong)
    with pytest.raises(NotFound):
        blobs.put_file(tmp_path / "nowhere")


def test_folder_copied_to_the_bucket_as_it_is_moves_house(store: FsspecStore, cache: BlobCache, tmp_path: Path) -> None:
    folder = Blobs(tmp_path / "blobs")
    digest = folder.put(b"bundle")
    store.files.put_file(str(folder.path(digest)), f"{store.url}/{folder.path(digest).relative_to(tmp_path / 'blobs')}")
    assert RemoteBlobs(store, cache).path(digest).read_bytes() == b"bundle"


def test_blob_is_read_by_another_machine_and_then_without_the_store(
    server: S3Server, store: FsspecStore, cache: BlobCache, tmp_path: Path
) -> None:
    one, other = RemoteBlobs(store, cache), RemoteBlobs(store, BlobCache(tmp_path / "other", LIMIT, lambda: 0.0))
    digest, unseen = one.put(b"once"), one.put(b"unseen")
    assert other.path(digest).read_bytes() == b"once"
    server.stop()
    try:
        assert other.path(digest).read_bytes() == b"once"
        with pytest.raises(TransientError, match="cannot be used now") as caught:
            other.path(unseen)
        assert caught.value.retry and not isinstance(caught.value, StorageFull)
        with pytest.raises(TransientError):
            other.put(b"new")
        assert not list((tmp_path / "other").glob(".filling-*"))
    finally:
        server.start()
    assert other.path(unseen).read_bytes() == b"unseen"
    with pytest.raises(NotFound):  # what a broken put did not store, nobody was shown
        other.path(sha(b"new"))
    assert one.path(other.put(b"new")).read_bytes() == b"new"


@pytest.mark.parametrize("damage", [b"", b"whole con", b"whole_content", b"whole content and more"])
def test_object_that_is_something_else_is_never_shown_and_mended_by_storing_it_again(
    store: FsspecStore, cache: BlobCache, damage: bytes
) -> None:
    blobs = RemoteBlobs(store, cache)
    digest = blobs.put(b"whole content")
    forget(blobs)
    store.files.pipe_file(f"{store.url}/{digest[:2]}/{digest}", damage)
    for _ in range(2):
        with pytest.raises(BadBundle, match="something else") as caught:
            blobs.path(digest)
        assert digest in caught.value.hint
    assert not [path for path in cache.folder.rglob("*") if path.is_file()]
    assert blobs.put(b"whole content") == digest
    forget(blobs)
    assert blobs.path(digest).read_bytes() == b"whole content"


def test_many_who_ask_for_one_blob_fetch_it_once(store: FsspecStore, cache: BlobCache) -> None:
    class Counting:
        name, asked = "counted", 0
        lock = threading.Lock()

        def put(self, key: str, path: Path) -> None:
            store.put(key, path)

        def get(self, key: str, into: Path) -> None:
            with self.lock:
                self.asked += 1
            store.get(key, into)

    counting = Counting()
    blobs = RemoteBlobs(counting, cache)
    content = os.urandom(300_000)
    digest = blobs.put(content)
    forget(blobs)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: blobs.path(digest).read_bytes(), range(16)))
    assert found == [content] * 16 and counting.asked == 1
    assert not blobs._filling


def test_two_processes_caches_in_one_folder_do_not_harm_each_other(store: FsspecStore, tmp_path: Path) -> None:
    caches = [BlobCache(tmp_path / "shared", 50_000, lambda: 0.0, grace_s=-1.0) for _ in range(4)]
    digests = {RemoteBlobs(store, caches[0]).put(bytes([n]) * 20_000): bytes([n]) * 20_000 for n in range(6)}

    def read(number: int) -> None:
        blobs = RemoteBlobs(store, caches[number])
        for digest in digests:
            try:
                content = blobs.path(digest).read_bytes()
            except FileNotFoundError:
                continue  # no grace here: the neighbour made room meanwhile
            assert content == digests[digest]

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(read, range(4)))
    assert sum(path.stat().st_size for path in (tmp_path / "shared").rglob("?" * 64)) <= 60_000


@given(
    sizes=st.lists(st.integers(0, 400), min_size=1, max_size=12),
    uses=st.lists(st.integers(0, 11), max_size=12),
    limit=st.integers(1, 1_000),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30)
def test_cache_stays_in_bounds_and_drops_what_was_not_used_for_longest(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], uses: list[int], limit: int
) -> None:
    clock = [1_000.0]

    def tick() -> float:
        clock[0] += 1.0
        return clock[0]

    cache = BlobCache(tmp_path_factory.mktemp("cache"), limit, tick, grace_s=0.0)
    model: dict[str, int] = {}  # sizes by digest, the least lately used first
    for number, size in enumerate(sizes):
        content = bytes([number]) * size
        cache.keep(cache.stage(lambda path, content=content: path.write_bytes(content)), sha(content))
        model.pop(sha(content), None)
        model[sha(content)] = size
        while sum(model.values()) > limit:
            del model[next(iter(model))]
        for use in uses[:number]:
            digest = sha(bytes([use % (number + 1)]) * sizes[use % (number + 1)])
            assert (cache.find(digest) is not None) == (digest in model)
            if digest in model:
                model[digest] = model.pop(digest)
    assert {path.name for path in cache.folder.rglob("?" * 64)} == set(model)


def test_blob_just_handed_out_is_not_dropped_before_it_can_be_opened(tmp_path: Path) -> None:
    at = [1_000.0]
    cache = BlobCache(tmp_path, 10, lambda: at[0], grace_s=600.0)

    def keep(content: bytes) -> Path:
        return cache.keep(cache.stage(lambda path: path.write_bytes(content)), sha(content))

    first = keep(b"x" * 10)
    at[0] += 599.0
    second = keep(b"y" * 10)
    assert first.is_file() and second.is_file()
    at[0] += 2.0
    third = keep(b"z" * 10)
    assert not first.is_file() and second.is_file() and third.is_file()


def test_file_half_filled_by_a_killed_process_goes(tmp_path: Path) -> None:
    (tmp_path / ".filling-old").write_bytes(b"half")
    os.utime(tmp_path / ".filling-old", (0.0, 0.0))
    (tmp_path / ".filling-new").write_bytes(b"half")
    os.utime(tmp_path / ".filling-new", (9_999.0, 9_999.0))
    cache = BlobCache(tmp_path, LIMIT, lambda: 10_000.0)
    cache.keep(cache.stage(lambda path: path.write_bytes(b"a")), sha(b"a"))
    assert [path.name for path in tmp_path.glob(".filling-*")] == [".filling-new"]


def test_file_that_changes_while_it_is_stored_is_refused(
    store: FsspecStore, cache: BlobCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "growing"
    source.write_bytes(b"1")
    stage = BlobCache.stage

    def later(self: BlobCache, fill: Any) -> Any:
        source.write_bytes(b"12")
        return stage(self, fill)

    monkeypatch.setattr(BlobCache, "stage", later)
    with pytest.raises(BadBundle, match="changed"):
        RemoteBlobs(store, cache).put_file(source)
    assert not list(cache.folder.glob(".filling-*"))


def test_cache_that_cannot_be_written_says_so(store: FsspecStore, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageFull):
        RemoteBlobs(store, BlobCache(tmp_path / "file", LIMIT, lambda: 0.0)).put(b"a")


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("plumbline/blobs", ""), ("s3://", ""), ("s3:///prefix", ""), ("file:///tmp/blobs", ""), ("ftp://host/x", ""),
        ("s3://bucket/x?versionId=1", ""), ("s3://user:word@bucket", ""), ("http://[", ""), ("s3://bucket", "minio"),
        ("s3://bucket", "ftp://minio"), ("s3://bucket", "http://minio:x"), ("gs://bucket", "http://minio"),
    ],
)  # fmt: skip
def test_url_that_is_no_store_is_refused(tmp_path: Path, url: str, endpoint: str) -> None:
    with pytest.raises(InvalidConfig) as caught:
        open_blobs(tmp_path, time.time, url, endpoint)
    assert "[blobs]" in caught.value.hint


@pytest.mark.parametrize("missing", ["fsspec", "s3fs"])
def test_store_without_its_packages_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    loaded = pytest.importorskip("fsspec.registry")._registry
    monkeypatch.setitem(sys.modules, missing, None)
    monkeypatch.delitem(loaded, "s3", raising=False)  # it remembers what it loaded once
    with pytest.raises(InvalidConfig) as caught:
        open_blobs(tmp_path, time.time, "s3://bucket/blobs")
    assert caught.value.hint == "pip install 'plumbline-edge[scale]'"


def test_no_url_means_the_folder_of_always(tmp_path: Path) -> None:
    digest = open_blobs(tmp_path, time.time).put(b"a")
    assert (tmp_path / "blobs" / digest[:2] / digest).read_bytes() == b"a"


def test_bucket_that_is_not_there_is_the_configs_fault(server: S3Server, cache: BlobCache) -> None:
    store = open_store("s3://no-such-bucket/x", server.url)
    blobs = RemoteBlobs(store, cache)
    for call in (lambda: blobs.put(b"a"), lambda: blobs.path(sha(b"a"))):
        with pytest.raises(InvalidConfig, match="no bucket"):
            call()
    store.close()


def test_no_credentials_are_the_configs_fault(
    server: S3Server, cache: BlobCache, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in CREDENTIALS:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    store = open_store("s3://plumbline/x", server.url)
    with pytest.raises(InvalidConfig, match="no credentials"):
        RemoteBlobs(store, cache).put(b"a")
    store.close()


def test_release_goes_through_the_store_and_stations_are_served_it(
    server: S3Server, store: FsspecStore, cache: BlobCache, tmp_path: Path
) -> None:
    registry = Registry(tmp_path / "registry", RemoteBlobs(store, cache))
    keys, bundle = init_keys(tmp_path / "keys"), write_bundle(tmp_path / "v1.plb", version="v1")
    server.stop()
    try:
        with pytest.raises(TransientError):
            release_archive(bundle, registry, keys, 1_795_200_000.0)
    finally:
        server.start()
    assert registry.catalog.all() == [] and registry.pending.releases() == []
    released = release_archive(bundle, registry, keys, 1_795_200_000.0)
    served = registry.tuf_folder / "targets" / "bundles" / f"{released.digest}.plb"
    assert served.read_bytes() == bundle.read_bytes()
    assert store.files.cat_file(f"{store.url}/{released.digest[:2]}/{released.digest}") == bundle.read_bytes()
    assert not (tmp_path / "registry" / "blobs").exists()
    for path in cache.folder.rglob("?" * 64):
        path.unlink()
    assert served.read_bytes() == bundle.read_bytes()  # the cache may drop it; the repository keeps its own name for it


def test_a_deleted_blob_is_gone_here_and_there_and_can_be_stored_again(blobs: BlobStore) -> None:
    digest, other = blobs.put(b"an archive"), blobs.put(b"another")
    assert (blobs.size_of(digest), blobs.size_of("0" * 64)) == (10, 0)
    blobs.delete(digest)
    blobs.delete(digest)
    assert blobs.size_of(digest) == 0
    with pytest.raises(NotFound):
        blobs.path(digest)
    assert blobs.path(other).read_bytes() == b"another"
    assert blobs.put(b"an archive") == digest
    forget(blobs)
    assert blobs.path(digest).read_bytes() == b"an archive"


def test_a_store_that_is_away_deletes_nothing_here_either(server: S3Server, cache: BlobCache) -> None:
    opened = open_store(f"s3://plumbline/{uuid.uuid4().hex}", server.url)
    remote = RemoteBlobs(opened, cache)
    digest = remote.put(b"an archive")
    opened.close()
    away = open_store("s3://plumbline/x", "http://127.0.0.1:1")
    try:
        for act in (remote_of(away, cache).delete, remote_of(away, cache).size_of):
            with pytest.raises(TransientError):
                act(digest)
        assert cache.find(digest) is not None
    finally:
        away.close()


def remote_of(store: FsspecStore, cache: BlobCache) -> RemoteBlobs:
    return RemoteBlobs(store, cache)
