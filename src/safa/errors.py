"""The errors a user can do something about: one clear sentence each, and the exit code that goes with it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


class SafaError(Exception):
    """Something is wrong with what was asked for; the message says what, and what to do.

    `exit_code` is what a command line should end with: 2 for a request that cannot be carried out.
    """

    exit_code = 2


class MediaError(SafaError):
    """The input is missing, is no video, or cannot be decoded."""


class OutputError(SafaError):
    """The output cannot be written: wrong name, container or codec, or no space left."""


class JournalMismatch(SafaError):
    """Kept work belongs to another input, other weights or other settings."""


class OutOfMemory(SafaError):
    """There is not enough memory; the message says for what, and how to do with less."""


class CheckFailed(SafaError):
    """Something was made and is not what it should be; nothing is left under the asked-for name."""

    exit_code = 1


def to_install(extra: str) -> str:
    """Return the command that installs one of the extras of pyproject.toml, for messages.

    The distribution is not on a package index yet; a package of its name there would not be this one.
    """
    command = f"pip install '.[{extra}]' in the folder with safa's source"
    return f"{command} (this bundle cannot be extended)" if getattr(sys, "frozen", False) else command


@contextmanager
def needs_pytorch(what: str) -> Iterator[None]:
    """Around imports of PyTorch: says in a sentence that ``what`` needs it where it is not installed.

    Raises:
        SafaError: it is not.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "torch":
            raise
        raise SafaError(f"{what} needs PyTorch, which is not installed: {to_install('torch')}.") from error
