import platform
import subprocess
import sys

import pytest

SCRIPT = """
import resource
import numpy as np
{setup}
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(2**24, np.float32)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""


def count_page_faults(setup: str) -> int:
    """Count the page faults of making an array of 64 MiB after one of the same size was freed."""
    script = SCRIPT.format(setup=setup)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_freed_memory_is_reused() -> None:
    faults = count_page_faults("from dda.system.memory import raise_malloc_thresholds; raise_malloc_thresholds()")
    assert faults * 10 < count_page_faults("")
