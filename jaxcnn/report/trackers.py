"""Writers to experiment trackers: Weights & Biases and MLflow, where installed.

Neither can remove values. Steps that a killed run took after its last checkpoint are
repeated when it is resumed, and the tracker then has their values twice.
"""

from collections.abc import Mapping
import importlib.util
import json
from pathlib import Path
import re
from typing import Any

from jaxcnn import whole_files
from jaxcnn.errors import UserError

Values = Mapping[str, Any]

MODULES = ("wandb", "mlflow")  # also the names of their packages and of the writers


def check_installed(module: str) -> None:
    """Raises UserError unless the package of a tracker is installed."""
    spec = importlib.util.find_spec(module)
    # A folder of that name without a package, as wandb leaves one, has no origin.
    if spec is None or spec.origin is None:
        raise UserError(
            f"The writer {module!r} needs the package {module}, which is not "
            f"installed: pip install {module}"
        )


class WeightsAndBiases:
    """Values as "split/name" over "step" in one run of Weights & Biases.

    wandb's own settings choose the destination: WANDB_PROJECT, WANDB_MODE=offline,
    `wandb login`. Its files are in the run's folder; wandb.json holds the id of the
    tracker's run, which a resumed run continues.

    Args:
        folder: The run's folder.
        first_step: Not used, see the module docstring.
    """

    def __init__(self, folder: Path, first_step: int) -> None:
        check_installed("wandb")
        import wandb

        known = _read_id(folder / "wandb.json")
        if known is None:
            identity = {"name": folder.resolve().name}
        else:
            identity = {"id": known, "resume": "allow"}
        try:
            self._run = wandb.init(
                **identity,
                dir=str(folder),
                config=_config(folder),
                # Does not end a run that the user's program has started itself.
                reinit="create_new",
            )
        except wandb.errors.UsageError as error:
            raise UserError(
                f"The writer 'wandb' cannot start: {_one_line(error)} Or set "
                "WANDB_MODE=offline."
            ) from error
        # wandb ignores values whose step, in wandb's own count, is not the largest so
        # far. With our step as a value, it accepts the values of a resumed run.
        self._run.define_metric("*", step_metric="step")
        _write_id(folder / "wandb.json", self._run.id)

    def write(self, split: str, step: int, values: Values) -> None:
        named = {f"{split}/{name}": value for name, value in values.items()}
        self._run.log({**named, "step": step})

    def close(self) -> None:
        self._run.finish()


class MLflow:
    """Values as metrics "split/name", and the config as parameters, of one MLflow run.

    MLflow's own settings choose the destination: MLFLOW_TRACKING_URI,
    MLFLOW_EXPERIMENT_NAME. mlflow.json in the run's folder holds the id of the MLflow
    run, which a resumed run continues.

    Args:
        folder: The run's folder.
        first_step: Not used, see the module docstring.
    """

    def __init__(self, folder: Path, first_step: int) -> None:
        check_installed("mlflow")
        import mlflow

        self._mlflow = mlflow
        known = _read_id(folder / "mlflow.json")
        if known is None:
            identity = {"run_name": folder.resolve().name}
        else:
            identity = {"run_id": known}
        try:
            # nested: inside a run that the user's program has started, a child of it.
            run = mlflow.start_run(**identity, nested=True)
        except mlflow.exceptions.MlflowException as error:
            what = "start a run" if known is None else f"continue run {known}"
            raise UserError(
                f"The writer 'mlflow' cannot {what}: {_one_line(error)} "
                "MLFLOW_TRACKING_URI sets where runs are stored."
            ) from error
        self._id = run.info.run_id
        if known is None:  # the parameters of an MLflow run cannot be changed
            _write_id(folder / "mlflow.json", self._id)
            mlflow.log_params(_flat(_config(folder)))

    def write(self, split: str, step: int, values: Values) -> None:
        named = {
            # Replaces the characters that MLflow does not allow in a name.
            re.sub(r"[^\w\-. :/]", "_", f"{split}/{name}"): value
            for name, value in values.items()
        }
        self._mlflow.log_metrics(named, step=step, run_id=self._id)

    def close(self) -> None:
        self._mlflow.end_run()


def _read_id(path: Path) -> str | None:
    return json.loads(path.read_text())["id"] if path.exists() else None


def _write_id(path: Path, identifier: str) -> None:
    whole_files.write_text(path, json.dumps({"id": identifier}) + "\n")


def _config(folder: Path) -> dict[str, Any]:
    """The config in a run's folder; {} if it has none."""
    path = folder / "config.json"
    return json.loads(path.read_text()) if path.exists() else {}


def _flat(values: Values, prefix: str = "") -> dict[str, Any]:
    """Flattens {"optim": {"peak_lr": 0.1}} to {"optim.peak_lr": 0.1}."""
    flat = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
