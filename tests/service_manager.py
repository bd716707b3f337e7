"""Starts a unit file's command line as systemd would, where no systemd runs: for `install-agent --systemctl "python3 THIS ..."`.

It knows the settings that decide whether the agent lives: Type=notify with NotifyAccess=main, WatchdogSec, Restart, the timeouts,
User, Group, SupplementaryGroups, UMask, WorkingDirectory, StateDirectory, a clean environment, NoNewPrivileges; with --strict also
ProtectSystem=strict (a mount namespace in which only StateDirectory and ReadWritePaths may be written). It knows no other: what
it does not know it leaves out, as `systemd-analyze` has judged those. Standard library only: it also runs in a bare root.

usage: python3 service_manager.py --units DIR --run DIR [--strict] COMMAND [--quiet] [UNIT...]
"""

from __future__ import annotations

import contextlib
import ctypes
import fnmatch
import grp
import json
import os
import pwd
import shlex
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

_PR_SET_NO_NEW_PRIVS = 38


class Unit:
    """A unit file with its drop-ins; a later line adds to a list, or replaces a value."""

    def __init__(self, units: Path, name: str) -> None:
        self.values: dict[str, list[str]] = {}
        files = [units / name, *sorted((units / f"{name}.d").glob("*.conf"))]
        for file in files:
            for line in file.read_text().splitlines():
                if line[:1] not in ("#", "[", "") and "=" in line:
                    key, _, value = line.partition("=")
                    self.values.setdefault(key, []).append(value)

    def last(self, key: str, default: str = "") -> str:
        return self.values.get(key, [default])[-1]

    def seconds(self, key: str, default: float) -> float:
        return float(self.last(key) or default)


class Keeper:
    """Runs one unit until it is told to stop, or has failed for good; writes what happened, one JSON object a line."""

    def __init__(self, units: Path, run: Path, name: str, *, strict: bool) -> None:
        self._unit, self._run, self._name, self._strict = Unit(units, name), run, name, strict
        self._stop = False
        self._fed_s = 0.0
        self._ready = False

    def say(self, **what: object) -> None:
        with (self._run / f"{self._name}.events").open("a") as file:
            file.write(json.dumps({"at": time.time(), **what}) + "\n")

    def keep(self) -> None:
        def stop(_number: int, _frame: object) -> None:
            self._stop = True

        signal.signal(signal.SIGTERM, stop)
        failures = 0
        while True:
            well = self._once()
            failures += not well
            if self._stop or well or self._unit.last("Restart", "no") == "no":
                break
            if failures >= 3 or not self._ready:  # a test does not wait for StartLimitBurst
                break
            time.sleep(self._unit.seconds("RestartSec", 0.1))
        self.say(state="inactive" if well or self._stop else "failed")

    def _once(self) -> bool:
        unit = self._unit
        watchdog_s, began_s = unit.seconds("WatchdogSec", 0.0), time.monotonic()
        address = self._run / f"{self._name}.notify"
        address.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
            listener.bind(str(address))
            address.chmod(0o777)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            listener.settimeout(0.1)
            process = self._spawn(address, watchdog_s)
            self._ready, self._fed_s = False, time.monotonic()
            self.say(state="starting", pid=process.pid)
            while process.poll() is None and not self._stop:
                self._listen(listener, process.pid)
                now_s = time.monotonic()
                if not self._ready and now_s - began_s > unit.seconds("TimeoutStartSec", 90):
                    self.say(what="start timeout")
                    process.kill()
                if self._ready and watchdog_s and now_s - self._fed_s > watchdog_s:
                    self.say(what="watchdog timeout")
                    process.send_signal(signal.SIGABRT)
                    process.wait()
            if process.poll() is None:
                process.terminate()
                until_s = time.monotonic() + unit.seconds("TimeoutStopSec", 90)
                while process.poll() is None and time.monotonic() < until_s:
                    self._listen(listener, process.pid)
                if process.poll() is None:
                    self.say(what="stop timeout")
                    process.kill()
        code = process.wait()
        self.say(what="ended", code=code)
        return code == 0

    def _listen(self, listener: socket.socket, main: int) -> None:
        try:
            data, ancillary, _flags, _from = listener.recvmsg(4096, socket.CMSG_SPACE(12))
        except socket.timeout:  # noqa: UP041 - TimeoutError is another class before Python 3.10
            return
        pid = struct.unpack("3i", ancillary[0][2][:12])[0]
        if self._unit.last("NotifyAccess", "main") == "main" and pid != main:
            self.say(what="ignored", pid=pid)
            return
        for line in data.decode().splitlines():
            self.say(said=line, **({"state": "active"} if line == "READY=1" else {}))
            self._ready |= line == "READY=1"
            if line == "WATCHDOG=1":
                self._fed_s = time.monotonic()

    def _spawn(self, address: Path, watchdog_s: float) -> subprocess.Popen[bytes]:
        unit = self._unit
        user = pwd.getpwnam(unit.last("User", "root"))
        group = grp.getgrnam(unit.last("Group") or grp.getgrgid(user.pw_gid).gr_name).gr_gid
        more = [grp.getgrnam(name).gr_gid for name in unit.last("SupplementaryGroups").split()]
        environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "USER": user.pw_name}
        for line in unit.values.get("Environment", []):
            environment.update(word.partition("=")[::2] for word in shlex.split(line))
        environment["NOTIFY_SOCKET"] = str(address)
        if watchdog_s:
            environment["WATCHDOG_USEC"] = str(int(watchdog_s * 1e6))
        writable = [Path(path) for path in unit.last("ReadWritePaths").split()]
        for key, base in (("StateDirectory", "/var/lib"), ("CacheDirectory", "/var/cache")):
            for name in unit.last(key).split():
                folder = Path(base, name)
                folder.mkdir(parents=True, exist_ok=True)
                folder.chmod(int(unit.last(f"{key}Mode", "0755"), 8))
                os.chown(folder, user.pw_uid, group)
                writable.append(folder)
        command = shlex.split(unit.last("ExecStart"))
        if self._strict and unit.last("ProtectSystem") == "strict":
            command = _within_read_only_system(command, writable, user.pw_uid, group, more)
        libc = ctypes.CDLL(None)

        def lower() -> None:
            os.umask(int(unit.last("UMask", "0022"), 8))
            if not self._strict:
                if os.geteuid() == 0:
                    os.setgroups(more)
                    os.setgid(group)
                    os.setuid(user.pw_uid)
                libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)

        log = (self._run / f"{self._name}.log").open("ab")
        return subprocess.Popen(
            command,
            cwd=unit.last("WorkingDirectory", "/"),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            preexec_fn=lower,  # this process has one thread
            start_new_session=True,
        )


def _within_read_only_system(
    command: list[str], writable: list[Path], user: int, group: int, more: list[int]
) -> list[str]:
    """Return `command` within a mount namespace where only `writable`, /tmp, /dev and /run may be written, as `user`."""
    keep = [*map(str, writable), "/tmp", "/dev", "/run"]
    steps = ["mount --bind / /mnt", "mount -o remount,bind,ro /mnt"]
    steps += [f"mount --bind {shlex.quote(path)} {shlex.quote('/mnt' + path)}" for path in keep]
    steps += ["mount --rbind /proc /mnt/proc"]
    groups = f"--groups={','.join(map(str, more))}" if more else "--clear-groups"
    lowered = f"setpriv --reuid={user} --regid={group} {groups} --no-new-privs --bounding-set=-all --inh-caps=-all"
    steps += [f'cd "$PWD"; exec /usr/sbin/chroot /mnt {lowered} env -C "$PWD" {shlex.join(command)}']
    return ["unshare", "--mount", "--propagation=private", "sh", "-ec", "\n".join(steps)]


def state_of(run: Path, name: str) -> str:
    """Return "active", "starting", "failed" or "inactive"."""
    try:
        lines = (run / f"{name}.events").read_text().splitlines()
    except FileNotFoundError:
        return "inactive"
    states = [each["state"] for each in map(json.loads, lines) if "state" in each]
    return str(states[-1]) if states else "inactive"


def keeper_of(run: Path, name: str) -> int | None:
    """Return the keeper's process, None when there is none."""
    try:
        pid = int((run / f"{name}.keeper").read_text())
        os.kill(pid, 0)
    except (OSError, ValueError):
        return None
    return pid


def stop(run: Path, name: str) -> None:
    """Stop the unit, and wait for it."""
    pid = keeper_of(run, name)
    if pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        while keeper_of(run, name) is not None:
            time.sleep(0.05)
    (run / f"{name}.keeper").unlink(missing_ok=True)


def start(units: Path, run: Path, name: str, *, strict: bool) -> bool:
    """Start the unit; return whether it said READY=1."""
    # Forked twice, so that the keeper is nobody's child, and a later `stop` sees it go.
    child = os.fork()
    if child == 0:
        os.setsid()
        if os.fork() == 0:
            null = os.open(os.devnull, os.O_RDWR)
            for number in (0, 1, 2):
                os.dup2(null, number)
            (run / f"{name}.keeper").write_text(str(os.getpid()))
            keeper = Keeper(units, run, name, strict=strict)
            keeper.say(state="starting")
            keeper.keep()
        os._exit(0)
    os.waitpid(child, 0)
    while keeper_of(run, name) is None:
        time.sleep(0.01)
    while (state := state_of(run, name)) == "starting" or (state != "active" and keeper_of(run, name) is not None):
        time.sleep(0.05)
    return state == "active"


def main(words: list[str]) -> int:
    """Do what systemctl would."""
    units, run, strict = Path(), Path(), False
    while words and words[0].startswith("--"):
        option = words.pop(0)
        if option == "--units":
            units = Path(words.pop(0))
        elif option == "--run":
            run = Path(words.pop(0))
        elif option == "--strict":
            strict = True
    run.mkdir(parents=True, exist_ok=True)
    command, *names = [word for word in words if word != "--quiet"]
    with (run / "calls").open("a") as file:
        file.write(f"{command} {' '.join(names)}\n")
    present = [path.name for path in units.glob("*.service") if "@" not in path.name]
    names = [name for pattern in names for name in present if fnmatch.fnmatchcase(name, pattern)]
    if command in ("stop", "restart"):
        for name in names:
            stop(run, name)
    if command in ("start", "restart"):
        return 0 if all(start(units, run, name, strict=strict) for name in names) else 1
    if command == "is-active":
        states = [state_of(run, name) for name in names]
        print(*states, sep="\n")
        return 0 if "active" in states else 3
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
