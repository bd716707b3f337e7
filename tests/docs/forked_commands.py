"""plumbline-cloud and plumbline-agent as commands of a shell, without a second's imports for each.

A process with everything imported listens on a Unix socket. `plumbline-cloud` on PATH is a small program that hands it its
arguments, folder, environment and three streams; the process forks, and the child runs the real `main` with them as the installed
command would. Signals and the exit code go to and fro.

usage: python -m tests.docs.forked_commands SOCKET
"""

from __future__ import annotations

import array
import contextlib
import importlib
import json
import os
import signal
import socket
import sys
import threading
import traceback
from pathlib import Path
from typing import NoReturn

_CLIENT = """#!{python} -ISE
import array, json, os, signal, socket, sys
link = socket.socket(socket.AF_UNIX)
link.connect({address!r})
told = json.dumps([{program!r}, sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
link.sendmsg([len(told).to_bytes(4, "big")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))])
link.sendall(told)
answers = link.makefile("r")
child = int(answers.readline())
for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(each, lambda number, _: os.kill(child, number))
sys.exit(int(answers.readline() or 70))
"""


def write_clients(folder: Path, address: Path) -> None:
    """Write the two commands into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for program in ("plumbline-cloud", "plumbline-agent"):
        file = folder / program
        file.write_text(_CLIENT.format(python=sys.executable, address=str(address), program=program))
        file.chmod(0o755)


def _preload() -> None:
    for name in ("numpy", "onnxruntime", "onnx", "torch", "sqlalchemy", "httpx", "PIL.Image", "cloud.wiring"):
        importlib.import_module(name)
    for side in ("cloud", "agent"):
        for file in Path(importlib.import_module(f"{side}.commands").__path__[0]).glob("*.py"):
            importlib.import_module(f"{side}.commands.{file.stem}")


def serve(address: str) -> None:
    """Listen and fork until the process is ended."""
    _preload()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # children that end are nobody's to wait for
    door = socket.socket(socket.AF_UNIX)
    door.bind(address)
    door.listen(64)
    while True:
        link, _ = door.accept()
        # One child waits for the command and tells the client.
        if os.fork() == 0:
            door.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os._exit(_wait_for_it(link))
        link.close()


def _wait_for_it(link: socket.socket) -> int:
    head, parts, _, _ = link.recvmsg(4, socket.CMSG_SPACE(3 * 4))
    streams = array.array("i")
    for _, _, data in parts:
        streams.frombytes(data)
    want, got = int.from_bytes(head, "big"), b""
    while len(got) < want:
        got += link.recv(want - len(got))
    program, words, folder, environment = json.loads(got)
    child = os.fork()
    if child == 0:
        link.close()
        _run(program, words, folder, environment, list(streams))
    link.sendall(f"{child}\n".encode())
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    link.sendall(f"{code if code >= 0 else 128 - code}\n".encode())
    return 0


def _run(program: str, words: list[str], folder: str, environment: dict[str, str], streams: list[int]) -> NoReturn:
    """Become the command, and end as it ends.

    The libraries' own endings are left out: what they started in the process that was forked does not exist here.
    """
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for place, stream in enumerate(streams):
        os.dup2(stream, place)
        os.close(stream)
    # The forked process wrote to a file, which can seek; a pipe or a terminal cannot.
    sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    sys.stdout, sys.stderr = (os.fdopen(place, "w", 1, encoding="utf-8", closefd=False) for place in (1, 2))
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [program, *words]
    side = importlib.import_module("cloud.__main__" if program == "plumbline-cloud" else "agent.__main__")
    code: object = 1
    try:
        code = side.main()
        for thread in threading.enumerate():
            if not thread.daemon and thread is not threading.current_thread():
                thread.join()
    except SystemExit as ended:
        code = ended.code
    except KeyboardInterrupt:
        code = 130
    except BaseException:  # noqa: BLE001 (an interpreter prints whatever it is)
        traceback.print_exc()
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    os._exit(code if isinstance(code, int) else 0 if code is None else 1)


if __name__ == "__main__":
    serve(sys.argv[1])
