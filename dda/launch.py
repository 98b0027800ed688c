"""One machine, many GPUs: a process on each, every one a shard of the run (`launch=local`)."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Thread
from typing import IO, Any

import torch
from hydra.core.hydra_config import HydraConfig

from dda.commandline import quoted
from dda.config import Run
from dda.device import pick_device
from dda.mistakes import UserError

CORES_A_PROCESS = 4
"""Without a GPU: the model gains little from more threads, and every process takes a gigabyte of memory."""

PATIENCE = 10.0
"""Seconds that a process has to end by itself when it is told to."""

_OURS = ("launch", "launch.processes", "shard.index", "shard.count", "run_name")


def launch_processes(cfg: Any, run: Run) -> None:
    """Make a run by processes that each make a shard of it; the last one to finish writes the one manifest.

    Every line they print comes out with the number of the shard before it.

    Raises:
        UserError: a process failed; the others have been ended, and the same `run_name` goes on where they were.
    """
    gpus = visible_gpus() if pick_device(cfg.device).type == "cuda" else []
    count = cfg.launch.processes or len(gpus) or max(1, _cores() // CORES_A_PROCESS)
    with _interruptible():
        processes: list[_Process] = []
        try:
            for index in range(count):
                environment = _environment(index, count, gpus)
                processes.append(_Process(_command(run.name, index, count), environment, index))
            _wait(processes)
        finally:
            _end(processes)


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES calls them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return [str(index) for index in range(torch.cuda.device_count())] if named is None else named.split(",")


def _command(run_name: str, index: int, count: int) -> list[str]:
    """This command line, as typed, for one shard."""
    overrides = HydraConfig.get().overrides
    typed = [setting for setting in (*overrides.hydra, *overrides.task) if setting.partition("=")[0] not in _OURS]
    ours = ["launch=none", f"shard.index={index}", f"shard.count={count}", f"run_name={quoted(run_name)}"]
    return [sys.executable, sys.argv[0], *typed, *ours]


def _environment(index: int, count: int, gpus: Sequence[str]) -> Mapping[str, str]:
    threads = {"OMP_NUM_THREADS": str(max(1, _cores() // count))}
    gpu = {"CUDA_VISIBLE_DEVICES": gpus[index % len(gpus)]} if gpus else {}
    return {**threads, **os.environ, **gpu, "PYTHONUNBUFFERED": "1"}


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Process:
    """One shard's process; what it prints is passed on line by line."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], index: int) -> None:
        # A session of its own: Ctrl-C reaches this process alone, which then ends all of them.
        self.popen = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8",
            errors="replace", start_new_session=True,
        )  # fmt: skip
        streams = ((self.popen.stdout, sys.stdout), (self.popen.stderr, sys.stderr))
        self._readers = [Thread(target=_pass_on, args=(*pair, f"[{index}] "), daemon=True) for pair in streams]
        for reader in self._readers:
            reader.start()

    def end(self, patience: float) -> None:
        try:
            self.popen.wait(patience)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()
        for reader in self._readers:
            reader.join(PATIENCE)  # a grandchild may hold the pipe open for longer


def _pass_on(stream: IO[str], output: IO[str], prefix: str) -> None:
    for line in stream:
        output.write(prefix + line)
        output.flush()


def _wait(processes: Sequence[_Process]) -> None:
    """Until all have ended well, or one has not."""
    while any(process.popen.returncode is None for process in processes):
        for index, process in enumerate(processes):
            if code := process.popen.poll():
                raise UserError(
                    f"launch=local: shard {index} of {len(processes)} ended with code {code}, the lines that begin "
                    f"with [{index}] say why; the others were ended, and the same run_name goes on from here"
                )
        time.sleep(0.1)


def _end(processes: Sequence[_Process]) -> None:
    for process in processes:
        process.popen.terminate()
    deadline = time.monotonic() + PATIENCE
    for process in processes:
        process.end(max(0.0, deadline - time.monotonic()))


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let a polite request to end, and a terminal that is closed, be an exception here."""

    def stop(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
