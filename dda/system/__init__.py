"""The machine a job runs on: its devices, memory, threads, clock and network."""
