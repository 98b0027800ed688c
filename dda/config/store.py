"""What Hydra is given: the types of all settings, and the resolvers that `conf/` uses."""

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from dda.config.run_folder import evaluation_name, job_folder, run_folder
from dda.config.schema import AmplifyConfig, EvalConfig, TrainConfig


def register_configs() -> None:
    """Give Hydra the schemas (group `schema/`) and the resolvers that `conf/` uses."""
    store = ConfigStore.instance()
    store.store(group="schema", name="amplify", node=AmplifyConfig, package="_global_")
    store.store(group="schema", name="train", node=TrainConfig, package="_global_")
    store.store(group="schema", name="eval", node=EvalConfig, package="_global_")
    # Cached, so that `latest` stays the same run for every job of a sweep.
    OmegaConf.register_new_resolver("dda.run_folder", run_folder, use_cache=True, replace=True)
    OmegaConf.register_new_resolver("dda.job_folder", job_folder, replace=True)
    OmegaConf.register_new_resolver("dda.evaluation_name", evaluation_name, use_cache=True, replace=True)
