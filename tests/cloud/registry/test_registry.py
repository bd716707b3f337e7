from __future__ import annotations

import contextlib
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from tuf.api.metadata import Metadata, Root

from cloud.registry.blobs import Blobs
from cloud.registry.bundle import BundleContent, build_bundle, open_bundle, unpack_bundle
from cloud.registry.catalog import Catalog, ReleasedVersion, ReleaseState
from cloud.registry.import_model import import_model
from cloud.registry.keys import ORDER_KEY_FILE, Keys, init_keys, load_keys
from cloud.registry.orders import KeyedOrderSigner, issue_order
from cloud.registry.release import Registry, release
from contract.errors import BadBundle, BadModel, InvalidConfig, NotFound
from contract.manifest import Artefact, Label, LabelKind, OutputKind, RuntimeKind, Thresholds
from contract.messages import Order, Probation
from contract.preprocess import PreprocessSpec
from contract.signature import OrderKey, verify_order

NOW = 1_795_200_000.0
DAY = 86400.0
PROBATION = Probation(10, 0.9)


def content(folder: Path, version: str = "1", data: bytes = b"model", **more: Any) -> BundleContent:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "m.onnx").write_bytes(data)
    facts: dict[str, Any] = {
        "name": "steel",
        "version": version,
        "labels": (Label("good", LabelKind.GOOD), Label("crack", LabelKind.DEFECT)),
        "preprocess": PreprocessSpec(8, 8, 1, (0.5,), (0.5,)),
        "artefacts": (Artefact("m.onnx", RuntimeKind.ONNX, "int8", OutputKind.LOGITS),),
        "thresholds": Thresholds(0.9, 0.5),
        "files": {"m.onnx": folder / "m.onnx"},
    }
    return BundleContent(**(facts | more))


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return init_keys(tmp_path / "keys")


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "registry")


def test_keys_are_private_hidden_from_git_and_never_overwritten(keys: Keys) -> None:
    for path in keys.folder.glob("*.pem"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (keys.folder / ".gitignore").read_text() == "*\n"
    before = {path.name: path.read_bytes() for path in keys.folder.iterdir()}
    with pytest.raises(InvalidConfig, match="already holds"):
        init_keys(keys.folder)
    assert before == {path.name: path.read_bytes() for path in keys.folder.iterdir()}
    assert load_keys(keys.folder).order_key() == keys.order_key()
    pinned = msgspec.json.decode((keys.folder / ORDER_KEY_FILE).read_bytes(), type=OrderKey)
    assert pinned == keys.order_key()


def test_offline_key_is_missed_only_when_it_must_sign(keys: Keys, registry: Registry, tmp_path: Path) -> None:
    release(content(tmp_path / "c"), registry, keys, NOW)
    for name in ("root.pem", "targets.pem"):
        (keys.folder / name).unlink()
    online = load_keys(keys.folder)
    assert registry.tuf(online).refresh_online(NOW + 10 * DAY)
    staged = release(content(tmp_path / "d", "2", b"other"), registry, online, NOW)
    assert staged.state is ReleaseState.STAGED and registry.catalog.find("2") is None
    assert registry.tuf(online).digests() == (registry.catalog.get("1").digest,)
    with pytest.raises(NotFound, match="order key"):
        (keys.folder / "order.pem").unlink()
        load_keys(keys.folder).order_key()


def test_missing_and_damaged_keys_say_what_to_do(tmp_path: Path, keys: Keys) -> None:
    with pytest.raises(NotFound) as caught:
        load_keys(tmp_path / "none")
    assert "keys init" in caught.value.hint
    (keys.folder / "order.pem").write_text("nothing")
    with pytest.raises(InvalidConfig, match=r"order\.pem"):
        load_keys(keys.folder)


def test_same_content_builds_the_same_bytes(tmp_path: Path) -> None:
    digests = {build_bundle(content(tmp_path / d), tmp_path / f"{d}.plb", NOW)[1] for d in ("a", "b")}
    assert len(digests) == 1


def test_bundle_opens_and_unpacks_to_what_it_was_built_of(tmp_path: Path) -> None:
    path, digest = build_bundle(content(tmp_path / "c"), tmp_path / "b.plb", NOW)
    manifest, found = open_bundle(path)
    assert (found, manifest.name, manifest.created_at) == (digest, "steel", NOW)
    unpack_bundle(path, tmp_path / "out")
    assert (tmp_path / "out" / "m.onnx").read_bytes() == b"model"


@pytest.mark.parametrize(
    ("more", "kind"),
    [
        ({"files": {"m.onnx": Path("/nowhere")}}, NotFound),
        ({"files": {}}, BadBundle),
        ({"labels": ()}, BadBundle),
        ({"thresholds": Thresholds(2.0, 0.5)}, BadBundle),
        ({"files": {"../m.onnx": "real"}}, BadBundle),
        ({"files": {"ümlaut": "real", "m.onnx": "real"}}, BadBundle),
    ],
)
def test_bundle_a_station_would_refuse_is_not_built(
    tmp_path: Path, more: Mapping[str, Any], kind: type[Exception]
) -> None:
    made = content(tmp_path / "c")
    if "real" in str(more):
        more = {"files": dict.fromkeys(more["files"], made.files["m.onnx"])}
    with pytest.raises(kind):
        build_bundle(content(tmp_path / "c", **more), tmp_path / "b.plb", NOW)
    assert not (tmp_path / "b.plb").exists()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 10_000), change=st.integers(1, 255))
def test_changed_bundle_never_opens_as_the_same_one(tmp_path: Path, at: int, change: int) -> None:
    path, digest = build_bundle(content(tmp_path / "c"), tmp_path / "b.plb", NOW)
    data = bytearray(path.read_bytes())
    data[at % len(data)] ^= change
    path.write_bytes(data)
    with contextlib.suppress(BadBundle):
        assert open_bundle(path)[1] != digest


def test_release_lists_vouches_and_keeps_the_full_precision_model(
    keys: Keys, registry: Registry, tmp_path: Path
) -> None:
    (tmp_path / "fp32.onnx").write_bytes(b"fp32")
    (tmp_path / "gate.json").write_bytes(b"{}")
    made = release(
        content(tmp_path / "c", release_counter=3),
        registry,
        keys,
        NOW,
        full_precision=tmp_path / "fp32.onnx",
        gate_report=tmp_path / "gate.json",
    )
    assert registry.catalog.get("1") == made == registry.catalog.by_digest(made.digest)
    assert registry.tuf(keys).digests() == (made.digest,)
    assert (registry.tuf_folder / "targets" / "bundles" / f"{made.digest}.plb").stat().st_size == made.size_bytes
    assert registry.blobs.path(made.full_precision).read_bytes() == b"fp32"
    assert registry.blobs.path(made.gate_report).read_bytes() == b"{}" and made.release_counter == 3
    assert b"fp32" not in registry.blobs.path(made.digest).read_bytes()


def test_release_repeated_is_the_same_release(keys: Keys, registry: Registry, tmp_path: Path) -> None:
    first = release(content(tmp_path / "c"), registry, keys, NOW)
    assert release(content(tmp_path / "c"), registry, keys, NOW + 99) == first
    timestamp = Metadata.from_file(str(registry.tuf_folder / "metadata" / "timestamp.json"))
    assert timestamp.signed.version == 2


def test_version_name_belongs_to_one_bundle(keys: Keys, registry: Registry, tmp_path: Path) -> None:
    first = release(content(tmp_path / "c"), registry, keys, NOW)
    with pytest.raises(InvalidConfig, match="another bundle"):
        release(content(tmp_path / "d", data=b"other"), registry, keys, NOW)
    with pytest.raises(InvalidConfig, match="no version name"):
        release(content(tmp_path / "d", version="../1"), registry, keys, NOW)
    assert registry.tuf(keys).digests() == (first.digest,)


def test_root_is_self_signed_and_pinned_once(keys: Keys, registry: Registry) -> None:
    tuf = registry.tuf(keys)
    root = tuf.create(NOW)
    assert tuf.create(NOW + 5) == root == tuf.root()
    metadata = Metadata[Root].from_bytes(root)
    metadata.verify_delegate("root", metadata)
    assert metadata.signed.consistent_snapshot


def test_online_metadata_is_signed_again_at_half_its_life_and_not_before(
    keys: Keys, registry: Registry, tmp_path: Path
) -> None:
    release(content(tmp_path / "c"), registry, keys, NOW)
    tuf = registry.tuf(keys)
    assert min(tuf.expires_at().values()) == NOW + 3 * DAY
    assert not tuf.refresh_online(NOW + 1.4 * DAY)
    assert tuf.refresh_online(NOW + 1.6 * DAY)
    assert min(tuf.expires_at().values()) == NOW + 4.6 * DAY
    assert tuf.refresh_online(NOW + 40 * DAY), "a server that was off for weeks mends itself at its start"
    assert min(tuf.expires_at().values()) == NOW + 43 * DAY


def test_repository_that_is_not_there_says_so(keys: Keys, registry: Registry) -> None:
    with pytest.raises(NotFound, match="no TUF repository"):
        registry.tuf(keys).refresh_online(NOW)
    with pytest.raises(NotFound, match="no TUF repository"):
        registry.tuf(keys).root()


def test_catalog_is_sorted_and_versions_can_be_withdrawn(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path / "catalog")
    assert catalog.all() == []
    for n in range(3):
        catalog.add(ReleasedVersion(f"1.{n}", "steel", f"{n}" * 64, 1, NOW + n))
    assert [each.version for each in catalog.all()] == ["1.2", "1.1", "1.0"]
    assert catalog.set_state("1.1", ReleaseState.WITHDRAWN).state is ReleaseState.WITHDRAWN
    assert catalog.get("1.1").state is ReleaseState.WITHDRAWN
    with pytest.raises(NotFound) as caught:
        catalog.get("9")
    assert "1.2" in caught.value.hint
    (tmp_path / "catalog" / "1.0.json").write_text("{")
    with pytest.raises(BadBundle, match="damaged"):
        catalog.get("1.0")


@given(st.binary(max_size=100))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=20)
def test_blob_comes_back_by_its_hash(tmp_path: Path, data: bytes) -> None:
    blobs = Blobs(tmp_path / "blobs")
    digest = blobs.put(data)
    assert blobs.put(data) == digest and blobs.path(digest).read_bytes() == data
    with pytest.raises(NotFound):
        blobs.path("../" + digest)


def test_order_is_signed_for_one_station(keys: Keys) -> None:
    facts: dict[str, Any] = {"size_bytes": 5, "deployment": "d", "desired_seq": 1, "probation": PROBATION, "now": NOW}
    order = verify_order(issue_order(keys, station="cam1", bundle="ab" * 32, **facts), [keys.order_key()])
    assert (order.station, order.issued_at, order.expires_at > NOW) == ("cam1", NOW, True)
    signed = KeyedOrderSigner(keys).sign(order)
    assert isinstance(verify_order(signed, [keys.order_key()]), Order)
    for wrong in ({"station": "Not OK"}, {"bundle": "abc"}, {"desired_seq": 0}, {"deployment": ""}):
        with pytest.raises(InvalidConfig):
            issue_order(keys, **({"station": "cam1", "bundle": "ab" * 32} | facts | wrong))


def onnx_model(path: Path, shape: tuple[int, ...], *, softmax: bool) -> Path:
    size = int(np.prod(shape[1:]))
    weights = np.random.default_rng(0).normal(size=(size, 3)).astype(np.float32)
    nodes = [helper.make_node("Flatten", ["x"], ["f"]), helper.make_node("MatMul", ["f", "w"], ["y"])]
    if softmax:
        nodes.append(helper.make_node("Softmax", ["y"], ["p"], axis=1))
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("p" if softmax else "y", TensorProto.FLOAT, [1, 3])],
        [numpy_helper.from_array(weights, "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))
    return path


@pytest.mark.parametrize(
    ("shape", "layout", "channels"),
    [((1, 3, 16, 12), "NCHW", 3), ((1, 16, 12, 3), "NHWC", 3), ((1, 1, 16, 12), "NCHW", 1)],
)
@pytest.mark.parametrize("softmax", [False, True])
def test_imported_onnx_model_describes_itself(
    tmp_path: Path, shape: tuple[int, ...], layout: str, channels: int, softmax: bool
) -> None:
    model = onnx_model(tmp_path / "m.onnx", shape, softmax=softmax)
    (tmp_path / "labels.txt").write_text("OK\ncrack\ncrack\n")
    path, _ = import_model(model, tmp_path / "labels.txt", tmp_path / "m.plb", NOW)
    manifest, _ = open_bundle(path)
    spec = manifest.preprocess
    assert (spec.height, spec.width, spec.channels, spec.layout, spec.dtype) == (16, 12, channels, layout, "float32")
    assert manifest.artefacts[0].output is (OutputKind.PROBABILITIES if softmax else OutputKind.LOGITS)
    assert [(label.name, label.kind) for label in manifest.labels] == [
        ("OK", LabelKind.GOOD),
        ("crack", LabelKind.DEFECT),
        ("crack (2)", LabelKind.DEFECT),
    ]
    unpack_bundle(path, tmp_path / "out")
    with np.load(tmp_path / "out" / "golden.npz") as golden:
        assert golden["pixels"].dtype == np.uint8 and golden["scores"].shape == (8, 3)


def test_import_says_what_does_not_fit(tmp_path: Path) -> None:
    model, labels = onnx_model(tmp_path / "m.onnx", (1, 3, 16, 12), softmax=False), tmp_path / "labels.txt"
    labels.write_text("a\nb\n")
    with pytest.raises(InvalidConfig, match="2 lines"):
        import_model(model, labels, tmp_path / "m.plb", NOW)
    labels.write_text("a\nb\nc\n")
    with pytest.raises(InvalidConfig, match="no label"):
        import_model(model, labels, tmp_path / "m.plb", NOW, good=["fine"])
    with pytest.raises(NotFound, match="no model"):
        import_model(tmp_path / "none.onnx", labels, tmp_path / "m.plb", NOW)
    with pytest.raises(NotFound, match="no labels"):
        import_model(model, tmp_path / "none.txt", tmp_path / "m.plb", NOW)
    for name in ("junk.onnx", "junk.tflite"):
        (tmp_path / name).write_bytes(b"junk")
        with pytest.raises(BadModel, match="does not load"):
            import_model(tmp_path / name, labels, tmp_path / "m.plb", NOW)
    with pytest.raises(InvalidConfig, match="neither"):
        import_model(labels, labels, tmp_path / "m.plb", NOW)
    with pytest.raises(BadModel, match="not one image"):
        import_model(onnx_model(tmp_path / "flat.onnx", (1, 9), softmax=False), labels, tmp_path / "m.plb", NOW)
    assert not (tmp_path / "m.plb").exists()


@pytest.mark.realdata
@pytest.mark.parametrize(("name", "size"), [("mobilenet_v2_1.0_224_quant", 224), ("mobilenet_v1_0.25_128_quant", 128)])
def test_third_party_tflite_models_import_with_raw_pixels(tmp_path: Path, name: str, size: int) -> None:
    models = Path(__file__).parents[4] / "shared" / "models" / "tflite"
    if not models.is_dir():
        pytest.skip("no third-party models beside the repository")
    pytest.importorskip("ai_edge_litert")
    path, _ = import_model(models / f"{name}.tflite", models / "imagenet_labels.txt", tmp_path / "m.plb", NOW)
    manifest, _ = open_bundle(path)
    assert (manifest.preprocess.height, manifest.preprocess.dtype, manifest.preprocess.layout) == (
        size,
        "uint8",
        "NHWC",
    )
    assert manifest.artefacts[0].output is OutputKind.PROBABILITIES and manifest.artefacts[0].precision == "int8"
    assert len(manifest.labels) == 1001
