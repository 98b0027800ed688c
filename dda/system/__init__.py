"""The machine a job runs on: device, memory, threads, standard error, stage times and network.

May import nothing else of the project.
"""
