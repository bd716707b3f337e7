"""Makes folders that look like the kernel's: what an Orin, a Pi and a laptop show."""

from __future__ import annotations

from pathlib import Path


def put(folder: Path, **values: object) -> Path:
    """Write each value as the kernel would, a line."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in values.items():
        (folder / name).write_text(f"{value}\n")
    return folder


def zone(root: Path, number: int, kind: str, milli: int | str, *trips: tuple[str, int]) -> Path:
    """Make a thermal zone; `trips` are (type, millidegrees)."""
    folder = put(root / f"thermal_zone{number}", type=kind, temp=milli)
    for index, (name, temp) in enumerate(trips):
        put(
            folder,
            **{f"trip_point_{index}_type": name, f"trip_point_{index}_temp": temp, f"trip_point_{index}_hyst": 0},
        )
    return folder


def orin(root: Path) -> Path:
    """Make what an Orin Nano shows at rest."""
    for number, name in enumerate(("cpu", "gpu", "cv0", "cv1", "cv2", "soc0", "soc1", "soc2")):
        zone(root, number, f"{name}-thermal", 48_000 + number, ("critical", 104_500), ("passive", 99_000))
    zone(root, 8, "tj-thermal", 50_125, ("active", 51_000), ("active", 61_000))
    for number, name in enumerate(("pwm-fan", "cpu-throttle-alert", "gpu-throttle-alert", "hot-surface-alert")):
        put(root / f"cooling_device{number}", type=name, cur_state=0, max_state=3)
    put(root / "cooling_device0", cur_state=2)
    return root
