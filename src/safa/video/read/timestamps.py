"""Repair of timestamps that are missing, repeated or run backwards."""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import TypeVar

Item = TypeVar("Item")

# Frames held back while waiting for a usable timestamp; after so many the nominal step is used.
LOOKAHEAD = 16
# A step so many times as long as any before it is unusual.
UNUSUAL = 10


def plausible_times(
    items: Iterable[tuple[Fraction | None, Fraction, Item]], latest: Fraction | None
) -> Iterator[tuple[Fraction | None, Fraction, Item]]:
    """The items of `repair_times`, without the times that cannot be true: one that is hours off would give millions of
    frames.

    Such a time lies after `latest`, where the file claims to have ended, *and* disagrees with its neighbours: it is
    unusually far from the one before it, and no later one follows. Claims alone may be wrong.
    """
    last: Fraction | None = None
    longest = Fraction(0)
    held: tuple[Fraction, Fraction, Item] | None = None
    for time, step, item in items:
        if held is not None:
            is_followed = time is not None and time > held[0]
            yield held[0] if is_followed else None, held[1], held[2]
            last, held = held[0] if is_followed else last, None
        if time is None:
            yield time, step, item
            continue
        if latest is not None and time > latest and (last is None or time - last > UNUSUAL * longest):
            held = time, step, item
            continue
        if last is not None:
            longest = max(longest, time - last)
        last = time
        yield time, step, item
    if held is not None:
        yield None, held[1], held[2]


def repair_times(
    items: Iterable[tuple[Fraction | None, Fraction, Item]],
    tick: Fraction,
    problems: list[str],
    begin: Fraction = Fraction(0),
) -> Iterator[tuple[Fraction, Item]]:
    """Give every item a time, strictly increasing.

    `items` are (time or None, nominal duration > 0, item), in the order they are shown. A good timestamp is
    never moved. Items whose time is missing or not after the one before are spread evenly between their good
    neighbours; at the start they are placed before the first good one (more than `LOOKAHEAD` of them from `begin`
    on), at the end (or after `LOOKAHEAD` bad ones in a row) after the last good one, one nominal duration apart. They
    are placed whole ticks away, as all other times are; a neighbour that leaves too few ticks counts as bad itself. No
    item is dropped. What was done is reported in `problems` at the end, unless there are no times at all, as in bare
    streams of a codec.
    """
    previous: Fraction | None = None
    held: list[tuple[Fraction, Item]] = []
    repaired, good = 0, False
    first_bad: Fraction | None = None

    for time, step, item in items:
        room = previous is None or time is None or time - previous >= tick * (len(held) + 1)
        if time is None or (previous is not None and time <= previous) or not room:
            held.append((step, item))
            repaired += 1
            if first_bad is None:
                first_bad = previous if previous is not None else Fraction(0)
            if len(held) == LOOKAHEAD:
                placed = _continue(previous, held, tick, begin)
                yield from placed
                previous, held = placed[-1][0], []
            continue
        if held:
            gap = held[0][0] if previous is None else (time - previous) / (len(held) + 1)
            gap = max(tick, gap)
            for number, (_, kept) in enumerate(held):
                yield time - tick * round(gap * (len(held) - number) / tick), kept
            held = []
        previous, good = time, True
        yield time, item
    yield from _continue(previous, held, tick, begin)
    if repaired and first_bad is not None and good:
        problems.append(
            f"{repaired} frames had a missing or backward timestamp (the first near {float(first_bad):.3f} s) "
            "and were placed between their neighbours."
        )


def _continue(
    previous: Fraction | None, held: list[tuple[Fraction, Item]], tick: Fraction, begin: Fraction
) -> list[tuple[Fraction, Item]]:
    """Place items one nominal duration, in whole ticks, apart after `previous`, or from `begin` where there is none."""
    placed = []
    for step, item in held:
        previous = begin if previous is None else previous + tick * max(1, round(step / tick))
        placed.append((previous, item))
    return placed
