"""Where the shards of a run are made: in this process, in several local processes, or on a Ray cluster."""
