"""One attempt at one training, as it is handed from the process that prepares it to those that train."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from finetrail.models.limits import Limits
from finetrail.training.settings.machine_choices import Choices
from finetrail.training.settings.train_settings import Launch, Prefix, Quantization, Saving, Tracking, TrainSettings


@dataclass(frozen=True)
class Job:
    """One attempt at one training.

    Attributes:
        base_dir: the base model.
        state_dir: checkpoints and records.
        resume: the checkpoint to continue from.
        settings, saving, choices: what decides the weights, when to save, and what was chosen for the machine.
        started: when the attempt began, in seconds since the epoch.
        longest: tokens of the longest row.
        vision_dir: encoder and classifier, where the model reads pictures by a prefix.
    """

    base_dir: Path
    state_dir: Path
    resume: Path | None
    settings: TrainSettings
    saving: Saving
    choices: Choices
    started: float
    longest: int
    vision_dir: Path | None = None


def job_as_plain(job: Job) -> dict[str, Any]:
    """Render a job as JSON can hold it."""
    plain = asdict(job)
    return plain | {name: str(value) for name, value in vars(job).items() if isinstance(value, Path)}


def job_from_plain(plain: Mapping[str, Any]) -> Job:
    """Read what `job_as_plain` rendered."""
    settings = dict(plain["settings"])
    settings["limits"] = Limits(**settings["limits"])
    settings["quantization"] = Quantization(**settings["quantization"])
    settings["launch"] = Launch(**settings["launch"])
    if settings["prefix"] is not None:
        settings["prefix"] = Prefix.from_plain(settings["prefix"])
    for name in ("target_modules", "modules_to_save"):
        if isinstance(settings[name], list):
            settings[name] = tuple(settings[name])
    saving = dict(plain["saving"])
    if saving["tracking"] is not None:
        saving["tracking"] = Tracking(**saving["tracking"])
    return Job(
        base_dir=Path(plain["base_dir"]),
        state_dir=Path(plain["state_dir"]),
        resume=Path(plain["resume"]) if plain["resume"] else None,
        settings=TrainSettings(**settings),
        saving=Saving(**saving),
        choices=Choices(**plain["choices"]),
        started=plain["started"],
        longest=plain["longest"],
        vision_dir=Path(plain["vision_dir"]) if plain["vision_dir"] else None,
    )
