"""Runs in the bundle before safa: programs that it starts, such as a browser, load their own libraries, not ours."""

import os

for name in ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"):
    original = os.environ.pop(f"{name}_ORIG", None)
    if original is not None:
        os.environ[name] = original
    else:
        os.environ.pop(name, None)
