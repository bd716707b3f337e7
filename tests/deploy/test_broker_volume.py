"""What a broker's pod takes from its Secret at each start (deploy/kubernetes/base/broker.yaml), in a real shell."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from cloud.provision.mosquitto_conf import BrokerPlan, render

_FILE = Path(__file__).resolve().parents[2] / "deploy/kubernetes/base/broker.yaml"
_HERE = "/var/lib/plumbline/provision/broker"
NEW = render(BrokerPlan(), Path(_HERE), Path("/usr/lib/plugin.so"), as_root=False)
OLD = NEW.replace("\nuse_subject_as_username true\n", "\nuse_identity_as_username true\n")


@pytest.fixture
def pod(tmp_path: Path) -> Path:
    """Give a folder with a Secret in "seed" and an empty volume in "broker"."""
    for name in ("seed", "broker"):
        (tmp_path / name).mkdir()
    for name in ("ca.pem", "cloud-ca.pem", "crl.pem", "server.pem"):
        (tmp_path / "seed" / name).write_text(name)
    return tmp_path


def _start(pod: Path, conf: str, roles: str) -> str:
    """Start a pod with this in its Secret; return the roles that its broker starts with."""
    (pod / "seed/mosquitto.conf").write_text(conf)
    (pod / "seed/dynamic-security.json").write_text(roles)
    stateful = next(yaml.safe_load_all(_FILE.read_text()))
    place = stateful["spec"]["template"]["spec"]["initContainers"][0]
    script = place["args"][0].replace("/seed", str(pod / "seed")).replace(_HERE, str(pod / "broker"))
    subprocess.run([*place["command"], script], check=True)
    assert (pod / "broker/mosquitto.conf").read_text() == conf
    assert (pod / "broker/server.pem").read_text() == "server.pem"
    return (pod / "broker/dynamic-security.json").read_text()


@pytest.mark.parametrize("conf", [OLD, NEW])
def test_the_broker_keeps_its_roles_from_the_first_start_on(pod: Path, conf: str) -> None:
    assert _start(pod, conf, "first") == "first"
    (pod / "broker/dynamic-security.json").write_text("by the plugin")
    assert _start(pod, conf, "first") == "by the plugin"


def test_after_update_broker_it_takes_the_new_roles_once(pod: Path) -> None:
    _start(pod, OLD, "first")
    (pod / "broker/dynamic-security.json").write_text("by the plugin")
    assert _start(pod, NEW, "by subject") == "by subject"
    (pod / "broker/dynamic-security.json").write_text("by the plugin again")
    assert _start(pod, NEW, "by subject") == "by the plugin again"
