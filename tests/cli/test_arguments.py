"""Command lines: what a shard is started with."""

import pytest

from dda.cli.arguments import shard_commands


def test_a_shard_gets_the_command_as_typed_but_for_what_makes_it_a_shard(monkeypatch: pytest.MonkeyPatch) -> None:
    typed = ["experiment=node", "++launch.processes=2", "launch=local", "num_pairs=3", "run_name=a"]
    monkeypatch.setattr("sys.argv", ["run_amplify.py", *typed])
    _, script, *settings = shard_commands("a b", 2)[1]
    assert script == "run_amplify.py"
    assert set(settings) == {
        *("experiment=node", "num_pairs=3", "launch=none"),
        *("shard.index=1", "shard.count=2", "run_name='a b'"),
    }
