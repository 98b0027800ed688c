"""Measure pairs of faces without and with makeup: `python run_eval.py run=latest` (all settings: `--help`)."""

import hydra
from omegaconf import DictConfig

from dda.cli.entry_point import job, launch


@hydra.main(version_base="1.3", config_path="conf", config_name="eval")
@job
def main(cfg: DictConfig) -> None:
    from dda.stages import evaluate  # takes seconds: --help and a mistyped key need not wait for it

    evaluate.main(cfg)


if __name__ == "__main__":
    launch(main)
