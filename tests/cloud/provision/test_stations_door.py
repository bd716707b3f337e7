"""Which line of mosquitto.conf says what a station is called, and how an old file is changed."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.provision.dynsec import ADMIN_USER, INGEST_USER, document
from cloud.provision.mosquitto_conf import BrokerPlan, render
from cloud.provision.stations_door import Naming, naming_of, with_subjects
from cloud.settings import load_settings
from contract.errors import InvalidConfig

NEW = render(BrokerPlan(), Path("/plant/broker"), Path("/lib/plugin.so"), as_root=False)
IDENTITY, SUBJECT = "use_identity_as_username true\n", "use_subject_as_username true\n"
# As a plant of an older version has it: the comments differ, which nobody reads.
OLD = NEW.replace(SUBJECT, IDENTITY)
CLOUD = f"listener 8884\ncafile /plant/broker/cloud-ca.pem\nrequire_certificate true\n{IDENTITY}"
STATIONS = "listener 8883\ncafile /plant/broker/ca.pem\nrequire_certificate true\nuse_username_as_clientid true\n"


def test_what_init_makes_names_stations_by_subject() -> None:
    assert naming_of(NEW) is Naming.SUBJECT
    assert with_subjects(NEW) == NEW


def test_an_old_file_is_changed_in_one_line_of_the_stations_listener() -> None:
    assert naming_of(OLD) is Naming.COMMON_NAME
    changed = with_subjects(OLD)
    assert naming_of(changed) is Naming.SUBJECT
    before, after = OLD.splitlines(), changed.splitlines()
    assert sorted([*before, SUBJECT.strip()]) == sorted([*after, IDENTITY.strip()])
    assert after[after.index("listener 8884 ") :] == before[before.index("listener 8884 ") :]


@pytest.mark.parametrize(
    ("conf", "naming"),
    [
        (STATIONS + SUBJECT + CLOUD, Naming.SUBJECT),
        (CLOUD + STATIONS + SUBJECT, Naming.SUBJECT),
        (STATIONS + IDENTITY + CLOUD, Naming.COMMON_NAME),
        (STATIONS + SUBJECT + IDENTITY + CLOUD, Naming.COMMON_NAME),  # mosquitto looks for the common name first
        (STATIONS + SUBJECT + "use_identity_as_username false\n" + CLOUD, Naming.SUBJECT),
        (STATIONS + IDENTITY + "use_identity_as_username false\n" + SUBJECT + CLOUD, Naming.SUBJECT),
        (STATIONS + f"#{IDENTITY}" + "use_subject_as_username 1\n" + CLOUD, Naming.SUBJECT),
        (STATIONS + CLOUD, None),
        (STATIONS + SUBJECT + CLOUD + STATIONS + IDENTITY, None),  # a second door, of another kind
        (CLOUD, None),
        ("", None),
    ],
)
def test_a_file_says_how_stations_are_named(conf: str, naming: Naming | None) -> None:
    assert naming_of(conf) is naming


def test_every_door_for_stations_is_changed() -> None:
    two = STATIONS + SUBJECT + CLOUD + STATIONS.replace("8883", "8893") + IDENTITY + "use_subject_as_username false\n"
    changed = with_subjects(two)
    assert naming_of(changed) is Naming.SUBJECT
    assert changed.count(IDENTITY) == 1 and CLOUD in changed


def test_a_file_without_such_a_door_is_not_touched() -> None:
    with pytest.raises(InvalidConfig, match="no listener"):
        with_subjects(CLOUD)


@given(
    st.lists(st.sampled_from([STATIONS, CLOUD, IDENTITY, SUBJECT, "# a word\n", "\n", "log_type error\n"]), max_size=9)
)
def test_whatever_the_file_its_doors_end_by_subject_and_the_clouds_as_they_were(parts: list[str]) -> None:
    conf = "".join([*parts, STATIONS])
    changed = with_subjects(conf)
    assert naming_of(changed) is Naming.SUBJECT
    assert with_subjects(changed) == changed
    other = (IDENTITY.strip(), SUBJECT.strip())
    kept = [line for line in conf.splitlines() if line not in other]
    assert kept == [line for line in changed.splitlines() if line not in other]
    clouds = [part for part in conf.split("listener ") if "cloud-ca" in part]
    assert clouds == [part for part in changed.split("listener ") if "cloud-ca" in part]


@given(st.from_regex(r"[a-z0-9][a-z0-9_-]{0,62}", fullmatch=True))
def test_no_name_of_a_station_is_the_clouds_or_another_stations(station: str) -> None:
    assert Naming.SUBJECT.user(station).removeprefix("CN=") == Naming.COMMON_NAME.user(station) == station
    assert not {naming.user(station) for naming in Naming} & {INGEST_USER, ADMIN_USER}


@pytest.mark.parametrize("user", [INGEST_USER, ADMIN_USER])
def test_the_clouds_names_are_what_no_subject_spells(user: str) -> None:
    assert user != "" and "=" not in user
    with pytest.raises(InvalidConfig):
        Naming.COMMON_NAME.user(user)


def test_the_roles_name_stations_as_the_file_says() -> None:
    def users(*namings: Naming) -> set[str]:
        return {client["username"] for client in document(["a", "b"], namings)["clients"]} - {INGEST_USER, ADMIN_USER}

    assert users(Naming.SUBJECT) == {"CN=a", "CN=b"}
    assert users(Naming.COMMON_NAME) == {"a", "b"}
    assert users(*Naming) == {"CN=a", "CN=b", "a", "b"}


def test_the_clouds_client_id_is_none_that_a_certificate_of_a_station_spells(tmp_path: Path) -> None:
    file = tmp_path / "cloud.toml"
    file.write_text('[broker]\nclient_id = "CN=line1"\n')
    with pytest.raises(InvalidConfig, match="client_id"):
        load_settings(file)
    file.write_text('[broker]\nclient_id = "plumbline-2"\n')
    assert load_settings(file).broker.client_id == "plumbline-2"
