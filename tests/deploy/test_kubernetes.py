"""deploy/kubernetes: valid, complete in itself, and careful with what it is allowed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from cloud.settings import load_settings
from tests.deploy.kustomize_files import DEPLOY, KUBERNETES, ROOTS, Rendered, containers, key

VERSION = kubernetes_validate.latest_version()
OVERLAYS = ("overlays/small", "overlays/large")
# What deploy/README.md tells the operator to make by hand, since no secret is in a repository.
SECRETS = {"plumbline-keys", "plumbline-tokens", "plumbline-cloud-tls", "plumbline-broker", "plumbline-postgres"}


@pytest.fixture(scope="module")
def rendered() -> dict[str, Rendered]:
    return {root: Rendered(KUBERNETES / root) for root in ROOTS}


def labels_of(template: dict[str, Any]) -> dict[str, str]:
    found: dict[str, str] = template["metadata"]["labels"]
    return found


def test_every_document_is_valid(rendered: dict[str, Rendered]) -> None:
    different = {yaml.safe_dump(each): each for root in rendered.values() for each in root.resources.values()}
    assert len(different) > 25
    for document in different.values():
        kubernetes_validate.validate(document, VERSION, strict=True)


@pytest.mark.parametrize("root", ROOTS)
def test_kustomize_itself_agrees(rendered: dict[str, Rendered], root: str) -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("no kubectl here; the resolver of these tests stands in")
    done = subprocess.run(["kubectl", "kustomize", str(KUBERNETES / root)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    made = [each for each in yaml.safe_load_all(done.stdout) if each]
    ours = rendered[root]
    assert {key(each) for each in made if each["kind"] != "ConfigMap"} == set(ours.resources)
    by_key = {key(each): each for each in made}
    for at, document in ours.resources.items():
        if "replicas" in document.get("spec", {}):
            assert by_key[at]["spec"]["replicas"] == document["spec"]["replicas"]
    assert f"image: {next(iter(ours.images.values()))}" in done.stdout


def test_no_file_lies_there_that_nothing_uses(rendered: dict[str, Rendered]) -> None:
    used = set().union(*(each.files for each in rendered.values()))
    assert {path for path in KUBERNETES.rglob("*") if path.is_file()} == used


@pytest.mark.parametrize("root", [*OVERLAYS, "training"])
def test_every_reference_is_to_something_that_is_there(rendered: dict[str, Rendered], root: str) -> None:
    here = rendered[root]
    claims = {each["metadata"]["name"] for each in here.of_kind("PersistentVolumeClaim")}
    for each in here.of_kind("Deployment", "StatefulSet", "Job"):
        name, template = each["metadata"]["name"], each["spec"]["template"]
        own = {claim["metadata"]["name"] for claim in each["spec"].get("volumeClaimTemplates", ())}
        volumes = {volume["name"]: volume for volume in template["spec"].get("volumes", ())}
        for volume in volumes.values():
            if "configMap" in volume:
                assert volume["configMap"]["name"] in here.config_maps
            elif "secret" in volume:
                assert volume["secret"]["secretName"] in SECRETS
            elif "persistentVolumeClaim" in volume:
                assert volume["persistentVolumeClaim"]["claimName"] in claims
            else:
                assert "emptyDir" in volume
        used = {mount["name"] for container in containers(template) for mount in container.get("volumeMounts", ())}
        assert used == set(volumes) | own, name
        for container in containers(template):
            for variable in container.get("env", ()):
                if "valueFrom" in variable:
                    assert variable["valueFrom"]["secretKeyRef"]["name"] in SECRETS
            for source in container.get("envFrom", ()):
                assert source["secretRef"]["optional"], "what must be there is asked for by key"
            ports = {port["name"] for port in container.get("ports", ())}
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                way = container.get(probe, {})
                for kind in ("httpGet", "tcpSocket"):
                    assert kind not in way or way[kind]["port"] in ports
        if "serviceName" in each["spec"]:
            assert ("v1", "Service", each["spec"]["serviceName"]) in here.resources
        selector = each["spec"].get("selector", {}).get("matchLabels", {})
        assert selector.items() <= labels_of(template).items()
    targets = [
        (each["spec"]["scaleTargetRef"][field] for field in ("apiVersion", "kind", "name"))
        for each in here.of_kind("HorizontalPodAutoscaler")
    ]
    assert all(tuple(target) in here.resources for target in targets)


@pytest.mark.parametrize("root", OVERLAYS)
def test_every_selector_selects_pods(rendered: dict[str, Rendered], root: str) -> None:
    here = rendered[root]
    apps = {labels_of(template)["app"]: template for _, template in here.pods()}
    for each in here.of_kind("Service"):
        if each["spec"].get("type") == "ExternalName":
            continue
        template = apps[each["spec"]["selector"]["app"]]
        ports = {port["name"] for container in containers(template) for port in container.get("ports", ())}
        assert all(port["targetPort"] in ports for port in each["spec"].get("ports", ()))
    for each in here.of_kind("PodDisruptionBudget"):
        assert each["spec"]["selector"]["matchLabels"]["app"] in apps
    asked = {"serve", "ingest", "broker", "postgres"}
    for each in here.of_kind("NetworkPolicy"):
        assert set(each["spec"]["podSelector"].get("matchLabels", {}).values()) <= asked
    assert {"serve", "ingest", "broker"} <= set(apps)


@pytest.mark.parametrize("root", ROOTS)
def test_every_pod_is_allowed_as_little_as_it_needs(rendered: dict[str, Rendered], root: str) -> None:
    for name, template in rendered[root].pods():
        spec = template["spec"]
        assert spec["automountServiceAccountToken"] is False, name
        assert spec["securityContext"]["runAsNonRoot"] and spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
        for container in containers(template):
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False and context["readOnlyRootFilesystem"] is True
            assert context["capabilities"] == {"drop": ["ALL"]} and "privileged" not in context
            assert {"cpu", "memory"} <= set(container["resources"]["requests"])
            assert "memory" in container["resources"]["limits"]
            # A CPU limit stalls a worker in the middle of a batch for nothing.
            assert "cpu" not in container["resources"]["limits"]


@pytest.mark.parametrize("root", OVERLAYS)
def test_what_runs_for_ever_is_probed(rendered: dict[str, Rendered], root: str) -> None:
    for each in rendered[root].of_kind("Deployment", "StatefulSet"):
        for container in each["spec"]["template"]["spec"]["containers"]:
            assert "livenessProbe" in container, each["metadata"]["name"]
            assert not container.get("ports") or {"readinessProbe", "startupProbe"} <= set(container)


def test_no_secret_is_committed_and_the_readme_says_how_to_make_each(rendered: dict[str, Rendered]) -> None:
    for path in DEPLOY.rglob("*"):
        if path.is_file():
            text = path.read_text("utf-8")
            assert "PRIVATE KEY" not in text and "kind: Secret\n" not in text, path
    readme = (DEPLOY / "README.md").read_text("utf-8")
    assert all(f"create secret generic {name} " in readme for name in SECRETS)


@pytest.mark.parametrize("root", OVERLAYS)
def test_cloud_knows_every_broker_and_nobody_else(rendered: dict[str, Rendered], root: str) -> None:
    here = rendered[root]
    settings = load_settings(here.config_maps["plumbline-cloud"]["cloud.toml"])
    replicas = here.resources["apps/v1", "StatefulSet", "broker"]["spec"]["replicas"]
    assert list(settings.broker.shards) == [f"broker-{number}.broker:8884" for number in range(replicas)]
    doors = {each["metadata"]["name"] for each in here.of_kind("Service") if each["spec"].get("type") == "LoadBalancer"}
    assert doors == {f"broker-{number}-stations" for number in range(replicas)}
    assert ("v1", "Service", "postgres") in here.resources and "@postgres:" in settings.database_url()
    # What serve holds alone and ingest must not have: the keys, the tokens, the home.
    pods = dict(here.pods())
    mounts = {name: {m["mountPath"] for m in pods[name]["spec"]["containers"][0]["volumeMounts"]} for name in pods}
    assert settings.keys in mounts["serve"] and settings.keys not in mounts["ingest"]
    assert not settings.ingest.in_serve
    for file in (settings.broker.ca_file, settings.broker.cert_file, settings.broker.key_file):
        assert str(Path(file).parent) in mounts["serve"] & mounts["ingest"]
