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
from typing import IO, Any, Literal

import torch

from dda.cli.arguments import quoted
from dda.console import pairs_progress
from dda.errors import UserError
from dda.pairs.journal import journal_file
from dda.pairs.run_files import Run
from dda.system.device import pick_device

CORES_A_PROCESS = 4
"""Without a GPU: the model gains little from more threads, and every process takes a gigabyte of memory."""

PATIENCE = 20.0
"""Seconds that a process has to close its W&B run when it is told to end."""

_OURS = ("launch", "launch.processes", "shard.index", "shard.count", "run_name")


def launch_processes(cfg: Any, run: Run, quota: int) -> None:
    """Make a run by processes that each make a shard of it; the last one to finish writes the one manifest.

    Every line they print comes out with the number of the shard before it.

    Args:
        cfg: the configuration of this process, which Hydra started.
        run: the run.
        quota: number of pairs that all shards are to make together, for the progress bar.

    Raises:
        UserError: a process failed; the others have been ended, and the same `run_name` goes on where they were.
    """
    gpus, count = _gpus(cfg), count_processes(cfg)
    processes: list[_Process] = []
    with _noted_signals() as asked, pairs_progress() as progress:
        task = progress.add_task("amplify", total=quota)
        try:
            for index in range(count):
                environment = _environment(index, count, gpus)
                processes.append(_Process(_command(run.name, index, count), environment, index, run.folder, count))
            while [process for process in processes if process.running()]:  # all are looked at: any may have failed
                _obey(asked)
                progress.update(task, completed=sum(process.pairs_done() for process in processes))
                time.sleep(0.2)
        finally:
            _end(processes)


def count_processes(cfg: Any) -> int:
    """How many processes, and so shards, launch=local makes of a run."""
    return cfg.launch.processes or len(_gpus(cfg)) or max(1, _cores() // CORES_A_PROCESS)


def _gpus(cfg: Any) -> list[str]:
    return visible_gpus() if pick_device(cfg.device).type == "cuda" else []


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES calls them."""
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
        """Whether it has still to end.

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
        """Pairs that its journal knows of."""
        if self._journal.exists():
            with self._journal.open("rb") as file:
                file.seek(self._read)
                lines, _, _ = file.read().rpartition(b"\n")
            self._read += len(lines) + bool(lines)
            self._done += lines.count(b'"status": "ok"')
        return self._done

    def interrupt(self) -> None:
        """As Ctrl-C does; nothing where it has ended."""
        self._popen.send_signal(signal.SIGINT)

    def wait(self, seconds: float) -> None:
        """Until it has ended; it is killed if that takes too long."""
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
    deadline = time.monotonic() + PATIENCE
    for process in processes:
        process.wait(max(0.0, deadline - time.monotonic()))


def _command(run_name: str, index: int, count: int) -> list[str]:
    """This command line, as typed, for one shard."""
    typed = [argument for argument in sys.argv[1:] if argument.partition("=")[0].lstrip("+") not in _OURS]
    alone = ["launch=none"]
    shard = [f"shard.index={index}", f"shard.count={count}", f"run_name={quoted(run_name)}"]
    return [sys.executable, sys.argv[0], *typed, *alone, *shard]


def _environment(index: int, count: int, gpus: Sequence[str]) -> Mapping[str, str]:
    shared = {
        "OMP_NUM_THREADS": str(max(1, _cores() // count)),
        "COLUMNS": str(shutil.get_terminal_size().columns - len(f"[{index}] ")),
    }
    gpu = {"CUDA_VISIBLE_DEVICES": gpus[index % len(gpus)]} if gpus else {}
    return {**shared, **os.environ, **gpu, "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _noted_signals() -> Iterator[list[int]]:
    """Ctrl-C, a polite request to end and a terminal that is closed are noted, not obeyed at once.

    An exception in the middle of starting a process would leave one that nobody ends.
    """
    asked: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _: asked.append(number))
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) != signal.SIG_IGN  # under nohup a closed terminal ends nothing
    }
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _obey(asked: Sequence[int]) -> None:
    if signal.SIGINT in asked:
        raise KeyboardInterrupt
    if asked:
        raise SystemExit(128 + asked[0])
