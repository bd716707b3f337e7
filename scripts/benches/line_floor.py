"""What Modbus costs without a station: pymodbus' own server with one register, and pymodbus' own client.

usage: python -m scripts.benches.line_floor PORT   serves until it is killed
"""

from __future__ import annotations

import asyncio
import sys
import time

from pymodbus.client import ModbusTcpClient
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from contract.errors import DeadlinePassed

_WORDS = 19
_WITHIN_S = 30.0


async def _serve(port: int) -> None:
    device = SimDevice(0, simdata=[SimData(0, count=2 * _WORDS, values=0, datatype=DataType.REGISTERS)])
    await ModbusTcpServer(device, address=("127.0.0.1", port)).serve_forever()


def floor_ms(port: int, exchanges: int) -> tuple[list[float], list[float]]:
    """Return the ms of so many reads of 8 registers, and of so many writes of a part with a read after each.

    Raises:
        DeadlinePassed: nobody serves there.
    """
    client = ModbusTcpClient("127.0.0.1", port=port, timeout=5.0)
    end_s = time.monotonic() + _WITHIN_S
    while not client.connect():  # type: ignore[no-untyped-call]
        if time.monotonic() > end_s:
            raise DeadlinePassed("the bare Modbus server did not come up")
        time.sleep(0.05)
    reads, both = [], []
    try:
        for _ in range(exchanges):
            since_s = time.monotonic()
            client.read_holding_registers(0, count=8)
            read_s = time.monotonic()
            client.write_registers(0, [1] * _WORDS)
            client.read_holding_registers(0, count=8)
            reads.append((read_s - since_s) * 1e3)
            both.append((time.monotonic() - read_s) * 1e3)
    finally:
        client.close()  # type: ignore[no-untyped-call]
    return reads, both


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
