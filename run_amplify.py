"""Amplify faces into makeup pairs: `python run_amplify.py batch_size=16` (all settings: `--help`)."""

import hydra
from omegaconf import DictConfig

from dda.cli.entry_point import job, launch
from dda.faces.dataset import open_dataset


@hydra.main(version_base="1.3", config_path="conf", config_name="amplify")
@job
def main(cfg: DictConfig) -> None:
    open_dataset(cfg.dataset)
    from dda.stages import amplify  # takes seconds: --help and a mistyped key or path need not wait for it

    amplify.main(cfg)


if __name__ == "__main__":
    launch(main)
