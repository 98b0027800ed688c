"""What Hydra is given: the types of all keys, and the resolvers that `conf/` uses."""

from dataclasses import MISSING, field, fields, make_dataclass
from typing import Any, get_type_hints

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from dda.config.run_folder import evaluation_name, job_folder, new_run_name, run_folder
from dda.config.schema import CONFIGS
from dda.options import is_choice


def register_configs(reserves_run_names: bool = False) -> None:
    """Give Hydra the schemas (group `schema/`) and the resolvers that `conf/` uses.

    Args:
        reserves_run_names: make the folder of a new run as soon as its name is asked for, so that no other process
            takes the same name; False only composes configurations, which writes nothing.
    """
    store = ConfigStore.instance()
    for command, schema in CONFIGS.items():
        store.store(group="schema", name=command, node=_make_composable(schema), package="_global_")
    # Cached, so that `latest` stays the same run for every job of a sweep.
    name_run = new_run_name if reserves_run_names else lambda time, outputs, task: time
    OmegaConf.register_new_resolver("dda.new_run_name", name_run, use_cache=True, replace=True)
    OmegaConf.register_new_resolver("dda.run_folder", run_folder, use_cache=True, replace=True)
    OmegaConf.register_new_resolver("dda.job_folder", job_folder, replace=True)
    OmegaConf.register_new_resolver("dda.evaluation_name", evaluation_name, use_cache=True, replace=True)


def _make_composable(schema: type) -> type:
    """Return the schema without types for the groups that are choices: `dda.config.check` types them."""
    kinds = get_type_hints(schema)
    return make_dataclass(
        schema.__name__,
        [
            (one.name, Any if is_choice(kinds[one.name]) else kinds[one.name], field(default=MISSING))
            for one in fields(schema)
        ],
        kw_only=True,
    )
