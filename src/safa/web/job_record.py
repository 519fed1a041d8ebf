"""One job of the page, as it is kept in its job.json."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

DRAFT, QUEUED, RUNNING, DONE, FAILED, CANCELLED = "draft", "queued", "running", "done", "failed", "cancelled"
ENDED = (DONE, FAILED, CANCELLED)
# What belongs to a run of the server and is not written down.
PASSING = "progress", "stop_asked", "is_arriving", "bytes_to_come"


@dataclass
class WebJob:
    """One job. What is not in ``job.json`` is reset when the server starts."""

    id: str
    owner: str
    """Random id of the browser that sent it."""
    kind: str = "video"
    """video or pictures."""
    names: list[str] = field(default_factory=list)
    """Of the uploaded files, for display only."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What was found in them; see ``material``."""
    settings: dict[str, Any] = field(default_factory=dict)
    """What was chosen on the page."""
    is_trial: bool = False
    """Only a second of it is made, with every network, while the upload waits for its choices."""
    state: str = DRAFT
    created: float = 0.0
    ended: float = 0.0
    result: dict[str, Any] = field(default_factory=dict)
    """Size, number of frames, seconds of work."""
    warnings: list[str] = field(default_factory=list)
    error: str = ""
    attempts: int = 0
    """Starts after which nothing was kept: a job that ends the server each time is given up."""
    progress: Any = None
    """``Progress`` of a running job."""
    stop_asked: bool = False
    is_arriving: bool = False
    """An upload is being written into its folder."""
    bytes_to_come: int = 0
    """Of that upload, where its size is known."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, without what belongs to a run."""
        return {name: value for name, value in asdict(self).items() if name not in PASSING}


def read_job(path: Path) -> WebJob | None:
    """The job of a record; None for one that is damaged, which ``sweep`` deletes in time."""
    try:
        stored = json.loads(path.read_text())
        job = WebJob(**{item.name: stored[item.name] for item in fields(WebJob) if item.name in stored})
    except (OSError, ValueError, TypeError):
        return None
    return job if job.id == path.parent.name else None
