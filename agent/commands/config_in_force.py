"""What a station on this machine works with: the layers under an order, and the order that it kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from agent.settings import Settings, layers_here, settings_of
from agent.settings_layers import Layers, Origin
from agent.slots.config_file import ConfigFile
from contract.errors import InvalidConfig


@dataclass(frozen=True, slots=True)
class InForce:
    """`problem`: why what was ordered is not used, "" when it is or nothing was; `on_trial` and `config_seq`: 0 for none."""

    layers: Layers
    settings: Settings
    remote: str
    config_seq: int
    on_trial: int
    last_change: str
    problem: str


def read_in_force(path: Path) -> InForce:
    """Return it for the file at `path`, with this process's environment.

    Raises:
        InvalidConfig: what lies under an order is wrong.
    """
    layers = layers_here(path)
    local = settings = settings_of(layers, path)
    folder = local.home_folder / "config"
    # An order counts only while the station pins a key that orders can be signed with.
    store = ConfigFile(folder) if local.trust.order_keys and folder.is_dir() else None
    in_force = store.in_force() if store else None
    last, trial = (store.last(), store.trial()) if store else (None, None)
    remote, problem = in_force.settings if in_force else "", ""
    if remote:
        try:
            with_order = layers_here(path, remote)
            layers, settings = with_order, settings_of(with_order, path)
        except InvalidConfig as error:
            layers, problem, remote = layers.under(Origin.ORDER), error.one_line(), ""
    return InForce(
        layers,
        settings,
        remote,
        in_force.config_seq if in_force and not problem else 0,
        trial.order.config_seq if trial else 0,
        "" if last is None else "kept" if last.kept else f"rolled back: {last.reason}",
        problem,
    )
