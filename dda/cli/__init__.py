"""The command line: from arguments to a Hydra job, its help and the errors it prints."""
