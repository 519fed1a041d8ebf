"""Reads rates, times and amounts of memory from text into exact numbers."""

import re
from fractions import Fraction

from safa.errors import SafaError

# Rates that are written as decimals but mean n * 1000 / 1001 frames per second (NTSC and its relatives).
NTSC = (12, 15, 24, 30, 48, 60, 72, 90, 96, 120, 144, 240)


LATEST = 10**9
"""Seconds: more than thirty years."""


def parse_rate(text: str) -> int:
    """A frame multiplier: a whole number from 1 to 64. Raises SafaError."""
    if not re.fullmatch(r"\d{1,3}", text.strip()) or not 1 <= int(text) <= 64:
        raise SafaError(f"rate must be a whole number from 1 to 64, not {text!r}; for other rates give --fps.")
    return int(text)


def parse_fps(text: str) -> Fraction:
    """Frames per second: "60", "60000/1001", "12.5"; "23.976", "29.97", "59.94" ... mean the exact NTSC rates.

    The result is above 0 and at most 1000. Raises SafaError.
    """
    value = _number(text)
    if value is None or not 0 < value <= 1000:
        raise SafaError(f"frames per second must be a number such as 60, 23.976 or 60000/1001, not {text!r}.")
    _, _, decimals = text.strip().partition(".")
    if len(decimals) >= 2:
        for nominal in NTSC:
            exact = Fraction(nominal * 1000, 1001)
            # 23.976 and 23.98 are rounded, 23.97 is cut; all are in use
            if abs(exact - value) < Fraction(1, 10 ** len(decimals)) and value < nominal:
                return exact
    return value


def parse_factor(text: str) -> Fraction:
    """A slow-motion factor: "2", "2.5", "5/2"; from 1/100 to 100, 2 = half speed. Raises SafaError."""
    value = _number(text)
    if value is None or not Fraction(1, 100) <= value <= 100:
        raise SafaError(f"the slow-motion factor must be a number from 0.01 to 100, such as 2 or 5/2, not {text!r}.")
    return value


def parse_time(text: str) -> Fraction:
    """A time in seconds: "62.5", "1:02.5" or "1:00:02.5". Raises SafaError."""
    match = re.fullmatch(r"(?:(?:(\d+):)?(\d{1,2}):)?(\d+(?:\.\d*)?|\.\d+)", text.strip())
    hours, minutes, seconds = match.groups() if match else (None, None, "")
    if not match or (minutes and (Fraction(seconds) >= 60 or (hours and int(minutes) >= 60))):
        raise SafaError(f"a time must look like 62.5 or 1:02.5 or 1:00:02.5, not {text!r}.")
    time = int(hours or 0) * 3600 + int(minutes or 0) * 60 + Fraction(seconds)
    if time > LATEST:
        raise SafaError(f"a time of {text} is after the end of any video; give an earlier one.")
    return time


def parse_memory(text: str) -> int:
    """An amount of memory in bytes: "2G", "1500M", "0.5G", "800MB", "1GiB" or plain bytes; units are powers of 1024.

    At least 1 MiB. Raises SafaError.
    """
    match = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)\s*(?:([kmgt])(?:i?b)?|b)?", text.strip().lower())
    amount = int(Fraction(match[1]) * 1024 ** ("kmgt".index(match[2]) + 1 if match[2] else 0)) if match else 0
    if amount < 1 << 20:
        raise SafaError(f"memory must be an amount of at least 1M, such as 2G or 1500M, not {text!r}.")
    return amount


def _number(text: str) -> Fraction | None:
    """A plain decimal or a ratio of two whole numbers; None for anything else."""
    text = text.strip()
    if re.fullmatch(r"\d+/\d*[1-9]\d*|\d+(\.\d*)?|\.\d+", text):
        return Fraction(text)
    return None
