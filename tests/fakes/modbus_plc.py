"""A PLC as a person would program one from the register map: pymodbus' own client and the map's addresses."""

from __future__ import annotations

import time
from collections.abc import Callable

from pymodbus.client import ModbusTcpClient

from agent.line_io import modbus_map as m
from agent.line_io.modbus_map import Bit, Coil, Hold, In


class ModbusPlc:
    """One connection to a station."""

    def __init__(self, port: int, *, unit: int = 1, source: str = "127.0.0.1") -> None:
        self.client = ModbusTcpClient(
            "127.0.0.1", port=port, timeout=30.0, retries=0, source_address=(source, 0), reconnect_delay=0
        )
        self.unit = unit
        if not self.client.connect():
            raise ConnectionRefusedError(port)
        connected = self.client.socket
        if connected.getsockname() == connected.getpeername():
            # Nobody listens yet, and the kernel gave this end the very port that it asks for: TCP's simultaneous open.
            self.client.close()
            raise ConnectionRefusedError(port)

    @classmethod
    def at_last(cls, port: int, within_s: float = 60.0) -> ModbusPlc:
        """Connect as soon as somebody listens."""
        end_s = time.monotonic() + within_s
        while True:
            try:
                return cls(port)
            except ConnectionRefusedError:
                if time.monotonic() > end_s:
                    raise
                time.sleep(0.05)

    def begin(self) -> None:
        """Say that nothing is asked, as a PLC does at its start."""
        self.write(Hold.REQUEST, 0)

    def write(self, address: int, *values: int) -> None:
        """Write holding registers."""
        answer = self.client.write_registers(address, list(values), device_id=self.unit)
        assert not answer.isError(), answer

    def ask(self, number: int, part: str = "") -> None:
        """Write the part's id and the request in one write."""
        self.write(Hold.REQUEST, number, 0, 0, 0, *m.words(part, m.PART_WORDS))

    def inputs(self, address: int = 0, count: int = 48) -> list[int]:
        """Read input registers."""
        answer = self.client.read_input_registers(address, count=count, device_id=self.unit)
        assert not answer.isError(), answer
        return list(answer.registers)

    def bits(self) -> Bit:
        """Read the discrete inputs."""
        answer = self.client.read_discrete_inputs(0, count=len(Bit), device_id=self.unit)
        assert not answer.isError(), answer
        return Bit(sum(bit for bit, on in zip(Bit, answer.bits, strict=False) if on))

    def coil(self, coil: Coil, *, on: bool) -> None:
        """Write one coil."""
        answer = self.client.write_coil(coil, on, device_id=self.unit)
        assert not answer.isError(), answer

    def answered(self, number: int, within_s: float = 60.0) -> list[int]:
        """Poll until the result in hand is that of `number` and there; return the input registers, read at once."""
        return self.until(lambda seen: seen[In.ASK] == number and seen[In.STATUS] >= m.Status.VERDICT, within_s)

    def until(self, what: Callable[[list[int]], bool], within_s: float = 60.0) -> list[int]:
        """Poll until the input registers are so; return them."""
        end_s = time.monotonic() + within_s
        while not what(seen := self.inputs()):
            assert time.monotonic() < end_s, seen
        return seen

    def close(self) -> None:
        """Disconnect."""
        self.client.close()
