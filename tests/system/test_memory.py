import platform
import subprocess
import sys

import pytest

COUNT = """
import resource
import numpy as np
{first}
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(2**24, np.float32)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""


def faults_of_the_second_array(first: str) -> int:
    """Page faults of making an array of 64 MiB where one of the same size was freed before."""
    done = subprocess.run([sys.executable, "-c", COUNT.format(first=first)], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_freed_memory_is_used_again() -> None:
    kept = faults_of_the_second_array("from dda.system.memory import keep_freed_memory; keep_freed_memory()")
    assert kept * 10 < faults_of_the_second_array("")
