"""Training in several processes under torchrun: one a GPU over NCCL, or on CPUs over gloo."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from contract.errors import PlumblineError, TransientError

_SCRIPT = "cloud.retrain.train"


def torchrun_command(
    file: Path, processes: int, *, nodes: int = 1, rendezvous: str = "", python: str = ""
) -> list[str]:
    """Return the command that trains the job `file` in `processes` processes on this machine.

    Args:
        nodes: machines that take part; each runs this command, and all see the job's folders under the same paths.
        rendezvous: "host:port" where they meet, on one of them.
        python: the interpreter; "" is the one that runs this.
    """
    meet = ["--standalone"]
    if nodes > 1:
        # The id keeps two trainings at one endpoint apart; it is the same on each machine because the run folder is.
        run = re.sub(r"\W+", "-", str(file.parent))
        meet = [f"--nnodes={nodes}", "--rdzv-backend=c10d", f"--rdzv-endpoint={rendezvous}", f"--rdzv-id={run}"]
    run_module = [python or sys.executable, "-m", "torch.distributed.run"]
    # No restarts: a worker that died takes the run down at once, and --resume continues from its checkpoint.
    return [*run_module, *meet, f"--nproc-per-node={processes}", "--max-restarts=0", "-m", _SCRIPT, str(file)]


def explain_torchrun(code: int, said: Sequence[str]) -> PlumblineError:
    """Return the error for a torchrun that ended with `code`: which worker died, and of what, from its report `said`.

    The report's last part, "Root Cause (first observed failure)", has lines "rank : 1 (local_rank: 1)" and
    "exitcode : -9 (pid: 4711)"; a worker's own exception comes before all that.
    """
    text = "\n".join(said)
    root = text[text.find("Root Cause") :] if "Root Cause" in text else ""
    rank, exit_code = re.search(r"rank\s*:\s*(\d+)", root), re.search(r"exitcode\s*:\s*(-?\d+)", root)
    # The exception of the worker that failed first is printed first; the others' are its echo.
    raised = re.search(r"^(?:\[rank\d+\]:\s*)?((?:\w+\.)*\w+(?:Error|Exception): .+)$", text, re.MULTILINE)
    cause = "a worker failed" if rank is None else f"worker {rank[1]} failed"
    if rank is not None and exit_code is not None:
        cause = f"worker {rank[1]} {_how(int(exit_code[1]))}"
    if exit_code is None or int(exit_code[1]) >= 0:
        cause += f": {raised[1]}" if raised else f" (torchrun ended with {code}): {' | '.join(list(said)[-3:])}"
    return TransientError(
        f"training stopped because {cause}",
        hint="a killed worker often means too little memory; train again with --resume",
    )


def _how(exit_code: int) -> str:
    if exit_code >= 0:
        return f"ended with {exit_code}"
    try:
        return f"was killed by {signal.Signals(-exit_code).name}"
    except ValueError:
        return f"was killed by signal {-exit_code}"
