"""The mirror of the registry in MLflow, put together."""

from __future__ import annotations

from collections.abc import Iterable

from cloud.ports.rollouts import Rollout
from cloud.registry.mirror_releases import MirrorReport, mirror_releases
from cloud.registry.mlflow_mirror import open_mirror
from cloud.registry.release import Registry
from cloud.rollout.rollout_states import RolloutState
from cloud.settings_scale import MlflowSettings
from contract.errors import TransientError


def mirror_now(settings: MlflowSettings, registry: Registry, rollouts: Iterable[Rollout]) -> MirrorReport:
    """Have MLflow show every released version as it is now. The promoted one is that of the newest rollout that is done.

    Args:
        rollouts: oldest first.
    Raises:
        InvalidConfig: MLflow is not installed, or its URI is none.
        TransientError: it cannot be reached.
    """
    done = [rollout.version for rollout in rollouts if rollout.state is RolloutState.DONE]
    mirror = open_mirror(settings.tracking_uri, settings.model)
    return mirror_releases(registry, mirror, done[-1] if done else "")


def mirror_or_tell(settings: MlflowSettings, registry: Registry, rollouts: Iterable[Rollout]) -> None:
    """As `mirror_now`, for a loop that logs what is raised and tries again.

    Raises:
        TransientError: some version could not be shown, too.
    """
    failed = mirror_now(settings, registry, rollouts).failed
    if failed:
        version, why = next(iter(failed.items()))
        raise TransientError(f"{len(failed)} versions are not mirrored, first {version}: {why}")
