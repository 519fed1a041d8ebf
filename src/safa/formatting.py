"""Sizes, durations, rates and times as text for people."""

from __future__ import annotations

from fractions import Fraction


def format_quantity(amount: float, unit: str, digits: int = 3) -> str:
    """Return an amount with a decimal prefix: "1.23 Mbit/s", "350 kB", "12 B".

    Args:
        amount: in ``unit``, at least 0.
        digits: significant digits of amounts with a prefix.
    """
    for power, prefix in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if amount >= power:
            scaled = amount / power
            # Not in exponential notation, which "g" uses for more digits than it may show.
            text = f"{scaled:.{digits}g}" if scaled < 10**digits - 0.5 else f"{scaled:.0f}"
            return f"{text} {prefix}{unit}"
    return f"{amount:.0f} {unit}"


def format_bytes(count: float) -> str:
    """Return an estimated number of bytes with two significant digits: "350 kB", "1.2 GB"."""
    return format_quantity(count, "B", 2)


def format_duration(seconds: float) -> str:
    """Return an estimated duration with two significant digits: "40 s", "12 min", "3.5 h"."""
    for length, unit in ((3600, "h"), (60, "min")):
        if seconds >= 2 * length:
            amount = seconds / length
            return f"{amount:.2g} {unit}" if amount < 99.5 else f"{amount:.0f} {unit}"
    return f"{max(1, round(seconds))} s"


def format_clock(seconds: Fraction | float, decimals: int = 0) -> str:
    """Return a time as minutes and seconds, cut to ``decimals``, with hours from one hour on: "1:02", "1:02:03.50"."""
    hundredths = int(seconds * 10**decimals)
    whole, rest = divmod(hundredths, 10**decimals)
    minutes, second = divmod(whole, 60)
    fraction = f".{rest:0{decimals}d}" if decimals else ""
    if minutes < 60:
        return f"{minutes}:{second:02d}{fraction}"
    return f"{minutes // 60}:{minutes % 60:02d}:{second:02d}{fraction}"


def format_fps(rate: Fraction | float) -> str:
    """Return a frame rate: "59.94 fps"."""
    return f"{float(rate):.5g} fps"
