"""What the process keeps of freed memory."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

SCRIPT = """
import resource
from safa.engine.memory import freed_is_kept
import numpy as np

def pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(64 << 20, np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

pages()
print(pages())
with freed_is_kept():
    pages()
    print(pages())
pages()
print(pages())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told to keep memory")
def test_freed_memory_is_kept_for_a_while() -> None:
    found = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, check=True).stdout
    before, meanwhile, afterwards = map(int, found.split())
    assert before > 16 > meanwhile
    assert afterwards > 16
