"""Measure pairs of faces without and with makeup: `python run_eval.py run=latest` (all settings: `--help`)."""

import hydra

from dda.cli.entry_point import job, launch
from dda.config.schema import EvalConfig


@hydra.main(version_base="1.3", config_path="conf", config_name="eval")
@job
def main(cfg: EvalConfig) -> None:
    from dda.stages import evaluate  # takes seconds: --help and a mistyped key need not wait for it

    evaluate.main(cfg)


if __name__ == "__main__":
    launch(main)
