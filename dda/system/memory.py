"""Memory: how much a process takes, and how the allocator treats the large arrays that every batch makes and frees."""

import ctypes
import resource
import sys

GIB = 2**30

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


def keep_freed_memory() -> None:
    """Let the process keep what it frees, where the C library is glibc; elsewhere do nothing.

    glibc hands every large block back to the system and asks for it again a moment later, and each time the system
    clears its pages anew: a fifth of the time of a run on the CPU. The peak of memory stays the same.
    """
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallopt"):
        return
    # Older ones take 32 MiB at most for the first; the second alone would have every array mapped anew.
    if library.mallopt(M_MMAP_THRESHOLD, 2**30) or library.mallopt(M_MMAP_THRESHOLD, 2**25):
        library.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def peak_memory() -> dict[str, float]:
    """The most memory that this process has held so far, in GiB: of the machine, and of each GPU that it uses."""
    import torch  # takes seconds: who only freed memory need not wait for it

    unit = 1 if sys.platform == "darwin" else 1024
    peaks = {"process": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / GIB}
    gpus = torch.cuda.device_count() if torch.cuda.is_initialized() else 0
    used = {f"gpu_{index}": torch.cuda.max_memory_reserved(index) / GIB for index in range(gpus)}
    return peaks | {name: peak for name, peak in used.items() if peak}
