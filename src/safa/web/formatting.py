"""Sizes and lengths of time as text."""

from __future__ import annotations


def size_text(count: float) -> str:
    """Return a number of bytes as text: 312 KB, 4.1 MB."""
    for unit in ("bytes", "KB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" or count >= 100 else f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.0f} GB" if count >= 100 else f"{count:.3g} GB"


def time_text(seconds: float) -> str:
    """Return a length of time as text, rounded as an estimate."""
    if seconds < 55:
        return f"{max(1, round(seconds))} s"
    if seconds < 3600:
        return f"{round(seconds / 60)} min"
    hours, minutes = divmod(round(seconds / 60), 60)
    if hours >= 48:
        return f"{round(hours / 24)} days"
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"
