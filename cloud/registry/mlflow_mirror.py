"""A mirror of the released versions in MLflow's model registry, for whoever looks for models there (the extra [mlflow]).

It is a copy for reading: nothing here is read back, and stations never depend on it. Per version there is one run with the
artifacts `manifest.json`, `model_card.md` and `gate.json`, as far as the bundle has them, and one model version with tags.
Every step looks before it makes, so that mirroring again, or after a break anywhere, ends in the same place.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cloud.registry.catalog import ReleasedVersion
from contract.errors import InvalidConfig, TransientError

PROMOTED = "promoted"
_VERSION, _DIGEST, _STATE = "plumbline.version", "plumbline.digest", "plumbline.state"
# MLflow waits for minutes before it says that a server is away, and sends usage figures to its makers unless told not to.
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}


@dataclass(frozen=True, slots=True)
class MirroredVersion:
    """What is told of a version: `state` is "released", "promoted", "withdrawn" or "retired"; `files` by artifact name."""

    released: ReleasedVersion
    state: str
    figures: Mapping[str, float]
    files: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class MlflowMirror:
    """Model versions of `model` in MLflow, by its client. Made by `open_mirror`.

    `artifacts`: the URL below which artifacts go, "" where the server knows.
    """

    client: Any
    model: str
    failures: tuple[type[Exception], ...]
    uri: str
    artifacts: str = ""

    def states(self) -> dict[str, str]:
        """Return the state MLflow shows, by the bundle's digest. Raises: TransientError."""
        with self._told():
            found = self.client.search_model_versions(f"name='{self.model}'")
            return {each.tags[_DIGEST]: each.tags.get(_STATE, "") for each in found if _DIGEST in each.tags}

    def show(self, version: MirroredVersion) -> None:
        """Have MLflow show a version as it is now.

        Raises:
            TransientError: MLflow cannot be reached, or refuses.
        """
        with self._told():
            tags = _tags(version)
            run = self._run(version, self._experiment())
            self._model()
            known = self.client.search_model_versions(f"name='{self.model}' and run_id='{run.info.run_id}'")
            if known:
                number = known[0].version
                for name, value in tags.items():
                    if known[0].tags.get(name) != value:
                        self.client.set_model_version_tag(self.model, number, name, value)
            else:
                source = run.info.artifact_uri
                number = self.client.create_model_version(self.model, source, run.info.run_id, tags=tags).version
            self._point(number, version.state == PROMOTED)
            # The state comes last: what bears it is complete, and `states` goes by it.
            self.client.set_model_version_tag(self.model, number, _STATE, version.state)

    def _experiment(self) -> str:
        found = self.client.get_experiment_by_name(self.model)
        return str(found.experiment_id if found else self.client.create_experiment(self.model, self.artifacts or None))

    def _model(self) -> None:
        if not any(each.name == self.model for each in self.client.search_registered_models(f"name='{self.model}'")):
            self.client.create_registered_model(self.model, description="Mirror of Plumbline's registry; do not edit.")

    def _run(self, version: MirroredVersion, experiment: str) -> Any:
        """Return the finished run of a version: the one there is, finished where a break left it unfinished."""
        released = version.released
        # The digest too: a registry made anew may use the names of the old one.
        query = f"tags.`{_VERSION}` = '{released.version}' and tags.`{_DIGEST}` = '{released.digest}'"
        runs = self.client.search_runs([experiment], query)
        if runs and runs[0].info.status == "FINISHED":
            return runs[0]
        tags = {_VERSION: released.version, _DIGEST: released.digest}
        made_at = int(released.created_at * 1000)
        run = runs[0] if runs else self.client.create_run(experiment, made_at, tags, released.version)
        with TemporaryDirectory(prefix="plumbline-mirror-") as folder:
            for name, content in version.files.items():
                file = Path(folder) / name
                file.write_bytes(content)
                self.client.log_artifact(run.info.run_id, str(file))
        for name, figure in version.figures.items():
            self.client.log_metric(run.info.run_id, name, figure, made_at)
        self.client.set_terminated(run.info.run_id, "FINISHED")
        return run

    def _point(self, number: str, promoted: bool) -> None:
        aliases = self.client.get_registered_model(self.model).aliases
        if promoted and aliases.get(PROMOTED) != number:
            self.client.set_registered_model_alias(self.model, PROMOTED, number)
        elif not promoted and aliases.get(PROMOTED) == number:
            self.client.delete_registered_model_alias(self.model, PROMOTED)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except self.failures as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
            hint = "releases do not wait for it; later: plumbline-cloud mirror"
            raise TransientError(f"MLflow at '{self.uri}' cannot be used now: {reason}", hint=hint) from error


def open_mirror(tracking_uri: str, model: str) -> MlflowMirror:
    """Return the mirror in the MLflow at `tracking_uri`: a server's URL, or a database of its own such as "sqlite:///mlflow.db".

    Raises:
        InvalidConfig: MLflow is not installed, or the URI or the name is none that it takes.
        TransientError: its database cannot be opened.
    """
    if not model or any(character in model for character in "/:.%\"'`") or len(model) > 200:
        raise InvalidConfig(f"'{model[:80]}' cannot name a model", hint="mend [mlflow] model in cloud.toml")
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient
        from requests import RequestException
        from sqlalchemy.exc import SQLAlchemyError
    except ImportError as error:
        hint = "pip install 'plumbline-edge[cloud,mlflow]'"
        raise InvalidConfig(f"the mirror needs what is not installed: {error}", hint=hint) from error
    failures = (MlflowException, RequestException, SQLAlchemyError, OSError)
    try:
        client = MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)
    except (SQLAlchemyError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise TransientError(f"MLflow at '{tracking_uri}' cannot be opened: {reason}", hint="check its path") from error
    except (MlflowException, ValueError) as error:
        hint = "write [mlflow] tracking_uri as http://HOST:PORT or sqlite:///FILE"
        raise InvalidConfig(f"'{tracking_uri}' is no MLflow: {str(error).splitlines()[0]}", hint=hint) from error
    artifacts = ""
    if tracking_uri.startswith("sqlite:///"):
        # Without a server MLflow would put them where the command happens to be started.
        artifacts = (Path(tracking_uri[10:]).absolute().parent / "mlflow-artifacts").as_uri()
    return MlflowMirror(client, model, failures, tracking_uri, artifacts)


def _tags(version: MirroredVersion) -> dict[str, str]:
    released, lineage = version.released, version.released.lineage
    tags = {
        _VERSION: released.version,
        _DIGEST: released.digest,
        "plumbline.size_bytes": str(released.size_bytes),
        "plumbline.release_counter": str(released.release_counter),
        "plumbline.simulated": str(released.simulated).lower(),
        **{f"plumbline.lineage.{name}": getattr(lineage, name) for name in lineage.__struct_fields__},
        **{f"plumbline.gate.{name}": f"{figure:g}" for name, figure in version.figures.items()},
    }
    return {name: value for name, value in tags.items() if value}
