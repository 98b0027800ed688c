"""One machine, many GPUs: a process on each, every one a shard of the run (`launch=local`)."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import IO, Literal

import torch

from dda.console import pairs_progress
from dda.errors import UserError
from dda.pairs.journal import journal_file
from dda.pairs.run_files import Run
from dda.system.device import pick_device

CPU_CORES_PER_PROCESS = 4
"""Without a GPU: the model gains little from more threads, and every process takes a gigabyte of memory."""

SHUTDOWN_TIMEOUT_S = 20.0
"""How long a process may take to close its W&B run when it is told to end."""


def launch_processes(commands: Sequence[Sequence[str]], run: Run, quota: int, device: str) -> None:
    """Make a run by processes that each make a shard of it; the last one to finish writes the one manifest.

    Every line they print comes out with the number of the shard before it.

    Args:
        commands: the command line of each shard, by the shard's index.
        run: the run.
        quota: number of pairs that all shards are to make together, for the progress bar.
        device: which GPUs the processes share: auto | cpu | cuda | cuda:N | mps.

    Raises:
        UserError: a process failed; the others have been ended, and the same `run_name` goes on where they were.
    """
    gpus, count = _gpus(device), len(commands)
    processes: list[_Process] = []
    with _deferred_signals() as signals, pairs_progress() as progress:
        task = progress.add_task("amplify", total=quota)
        try:
            for index, command in enumerate(commands):
                environment = _environment(index, count, gpus)
                processes.append(_Process(command, environment, index, run.folder, count))
            while [process for process in processes if process.running()]:  # all are looked at: any may have failed
                _raise_deferred(signals)
                progress.update(task, completed=sum(process.pairs_done() for process in processes))
                time.sleep(0.2)
        finally:
            _end(processes)


def count_processes(device: str) -> int:
    """Return how many processes this machine is good for: one on each GPU, or several to share its CPU cores."""
    return len(_gpus(device)) or max(1, _count_cores() // CPU_CORES_PER_PROCESS)


def _gpus(device: str) -> list[str]:
    return visible_gpus() if pick_device(device).type == "cuda" else []


def visible_gpus() -> list[str]:
    """Return the GPUs that this process may use, as CUDA_VISIBLE_DEVICES calls them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return [str(index) for index in range(torch.cuda.device_count())] if named is None else named.split(",")


class _Process:
    """The process of one shard, which passes on line by line what it prints."""

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], index: int, run_dir: Path, count: int
    ) -> None:
        self._name = f"shard {index} of {count}"
        self._prefix = f"[{index}] "
        self._journal, self._read, self._done = journal_file(run_dir, index, count), 0, 0
        # A session of its own: Ctrl-C reaches this process alone, which then ends all of them.
        self._popen = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8",
            errors="replace", start_new_session=True,
        )  # fmt: skip
        self._readers = [
            Thread(target=self._pass_on, args=(self._popen.stdout, "stdout"), daemon=True),
            Thread(target=self._pass_on, args=(self._popen.stderr, "stderr"), daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def running(self) -> bool:
        """Return whether it has still to end.

        Raises:
            UserError: it has ended, and not well.
        """
        code = self._popen.poll()
        if code:
            raise UserError(
                f"launch=local: {self._name} ended with code {code}, the lines that begin with {self._prefix.strip()} "
                "say why; the others were ended, and the same run_name goes on from here"
            )
        return code is None

    def pairs_done(self) -> int:
        """Return the number of pairs in its journal."""
        if self._journal.exists():
            with self._journal.open("rb") as file:
                file.seek(self._read)
                lines, _, _ = file.read().rpartition(b"\n")
            self._read += len(lines) + bool(lines)
            self._done += lines.count(b'"status": "ok"')
        return self._done

    def interrupt(self) -> None:
        """Interrupt it as Ctrl-C does; nothing happens where it has ended."""
        self._popen.send_signal(signal.SIGINT)

    def wait(self, seconds: float) -> None:
        """Wait until it has ended; kill it if that takes too long."""
        try:
            self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()
        for reader in self._readers:
            reader.join(1.0)  # not for ever: W&B's process may hold the pipe open

    def _pass_on(self, stream: IO[str], output: Literal["stdout", "stderr"]) -> None:
        for line in stream:
            print(self._prefix + line, end="", file=getattr(sys, output), flush=True)


def _end(processes: Sequence[_Process]) -> None:
    for process in processes:
        process.interrupt()
    deadline = time.monotonic() + SHUTDOWN_TIMEOUT_S
    for process in processes:
        process.wait(max(0.0, deadline - time.monotonic()))


def _environment(index: int, count: int, gpus: Sequence[str]) -> Mapping[str, str]:
    shared = {
        "OMP_NUM_THREADS": str(max(1, _count_cores() // count)),
        "COLUMNS": str(shutil.get_terminal_size().columns - len(f"[{index}] ")),
    }
    gpu = {"CUDA_VISIBLE_DEVICES": gpus[index % len(gpus)]} if gpus else {}
    return {**shared, **os.environ, **gpu, "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}


def _count_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _deferred_signals() -> Iterator[list[int]]:
    """Defer Ctrl-C, SIGTERM and SIGHUP of a ``with`` block: they are appended to the list, which is yielded.

    An exception in the middle of starting a process would leave one that nobody ends.
    """
    signals: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _: signals.append(number))
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) != signal.SIG_IGN  # under nohup a closed terminal ends nothing
    }
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _raise_deferred(signals: Sequence[int]) -> None:
    if signal.SIGINT in signals:
        raise KeyboardInterrupt
    if signals:
        raise SystemExit(128 + signals[0])
