"""Options of the tracker, and what it reads of a job's configuration."""

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from dda.options import at_least, one_of, option


@dataclass(kw_only=True)
class LoggerOptions:
    """Where a run is tracked. Nothing here changes a pixel."""

    name: str = option("The tracker.", limit=one_of("wandb", "none"), changes_output=False)
    project: str = option("W&B project.", is_text=True, changes_output=False)
    entity: str | None = option("W&B user or team; null: your default.", is_text=True, changes_output=False)
    mode: str = option(
        "auto (online when logged in, else offline) | online | offline | disabled.",
        limit=one_of("auto", "online", "offline", "disabled"),
        changes_output=False,
    )
    grid_every: int = option(
        "Batches between two pictures of the newest pairs; 0: never.", limit=at_least(0), changes_output=False
    )


class TrackedConfig(Protocol):
    """A job's configuration: a dataclass, recorded whole with the run."""

    __dataclass_fields__: ClassVar[dict[str, Any]]
    logger: LoggerOptions
    tags: list[str]
