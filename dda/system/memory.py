"""Memory of the process: its peak, and how the allocator treats the large arrays of every batch."""

import ctypes
import resource
import sys

BYTES_PER_GIB = 2**30

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # parameters of mallopt, from glibc's malloc.h


def raise_malloc_thresholds() -> None:
    """Make glibc's allocator keep freed memory for the next allocation; do nothing with another C library.

    By default glibc returns every large block to the system, which has to clear its pages again at the next allocation:
    a fifth of the time of a run on the CPU. The peak of memory stays the same.
    """
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallopt"):
        return
    # Old versions of glibc take at most 32 MiB. The trim threshold alone would leave large arrays mapped one by one.
    if library.mallopt(M_MMAP_THRESHOLD, 2**30) or library.mallopt(M_MMAP_THRESHOLD, 2**25):
        library.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def measure_peak_memory() -> dict[str, float]:
    """Measure the peak memory of this process so far, in GiB: "process", and "gpu_0" ... of each GPU that it uses."""
    import torch  # takes seconds, which a process that only calls raise_malloc_thresholds need not wait for

    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes on macOS and in KiB elsewhere
    peaks = {"process": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / BYTES_PER_GIB}
    gpus = torch.cuda.device_count() if torch.cuda.is_initialized() else 0
    gpu_peaks = {f"gpu_{index}": torch.cuda.max_memory_reserved(index) / BYTES_PER_GIB for index in range(gpus)}
    return peaks | {name: peak for name, peak in gpu_peaks.items() if peak}
