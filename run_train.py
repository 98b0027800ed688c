"""Train an amplifier from a folder of pairs: `python run_train.py data.root=DIR` (all settings: `--help`)."""

import hydra

from dda.cli.entry_point import job, launch
from dda.config.schema import TrainConfig


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
@job
def main(cfg: TrainConfig) -> None:
    from dda.stages import train  # takes seconds: --help and a mistyped key need not wait for it

    train.main(cfg)


if __name__ == "__main__":
    launch(main)
