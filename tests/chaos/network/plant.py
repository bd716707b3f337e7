"""Stations, broker and cloud with a fault proxy on each side of the broker."""

from __future__ import annotations

from pathlib import Path

from tests.chaos.fault_proxy import FaultProxy
from tests.chaos.ledger import Balance, Produced
from tests.chaos.network.cloud_worker import Cloud
from tests.chaos.network.station_thread import Station
from tests.chaos.waiting import wait_for
from tests.fixtures_broker import Broker


class KeptBroker(Broker):
    """One whose files a test looks at."""

    def __init__(self, folder: Path, *, config: str) -> None:
        super().__init__(folder, config=config)
        self.persistence = folder / "mosquitto.db"

    def log(self) -> str:
        """Return what it said."""
        return self._log.read_text(errors="replace")


class Plant:
    """`to_stations` stands between stations and broker, `to_cloud` between broker and worker."""

    def __init__(self, folder: Path, *, broker_config: str = "") -> None:
        self._folder = folder
        self.broker = KeptBroker(folder / "broker", config=broker_config)
        self.to_stations = FaultProxy(self.broker.port)
        self.to_cloud = FaultProxy(self.broker.port)
        self.produced = Produced()
        self.cloud = Cloud(folder, self.to_cloud.port, keepalive_s=2)
        self.stations: list[Station] = []

    def begin(self, *, stations: int = 1, resend_after_s: float = 2.0, keepalive_s: int = 2) -> Station:
        """Start broker, worker and stations; return the first station once everyone is connected."""
        self.broker.start()
        worker = self.cloud.start()
        wait_for(lambda: worker.link.connections() > 0)
        for number in range(stations):
            self.add_station(f"s{number + 1}", resend_after_s=resend_after_s, keepalive_s=keepalive_s).start()
        wait_for(lambda: all(each.connected() for each in self.stations))
        return self.stations[0]

    def add_station(self, name: str, *, resend_after_s: float = 2.0, keepalive_s: int = 2) -> Station:
        """Return a station that is not started yet."""
        station = Station(
            self._folder / name,
            name,
            self.to_stations.port,
            self.produced,
            keepalive_s=keepalive_s,
            resend_after_s=resend_after_s,
        )
        self.stations.append(station)
        return station

    def settle(self, within_s: float = 120.0) -> Balance:
        """Wait until every outbox is empty; return the balance, which must be exact."""
        wait_for(lambda: not any(each.waiting() for each in self.stations), within_s)
        balance = self.cloud.balance(self.produced)
        balance.assert_exact()
        return balance

    def close(self) -> None:
        """End everything."""
        for station in self.stations:
            station.stop()
        self.cloud.close()
        self.to_stations.close()
        self.to_cloud.close()
        self.broker.kill()
