"""Amplify faces into makeup pairs: `python run_amplify.py batch_size=16` (all settings: `--help`)."""

import hydra

from dda.cli.entry_point import job, launch
from dda.config.schema import AmplifyConfig
from dda.errors import keys_of


@hydra.main(version_base="1.3", config_path="conf", config_name="amplify")
@job
def main(cfg: AmplifyConfig) -> None:
    with keys_of("dataset"):
        cfg.dataset.open()
    from dda.stages import amplify  # takes seconds: --help and a mistyped key or path need not wait for it

    amplify.main(cfg)


if __name__ == "__main__":
    launch(main)
