"""`slicing-rllib config show|check|schema`"""

import typer

from slicing_rllib.service.commands.options import Config, Json, Settings

app = typer.Typer(
    no_args_is_help=True, help="Shows or checks a config, or prints the JSON Schema of configs."
)


@app.command()
def show(config: Config = "quick", settings: Settings = None, json: Json = False) -> None:
    """Prints the whole config as YAML, including all defaults.

    The exit code is 2 if the config is not valid.

    Example: slicing-rllib config show paper --set learning.gamma=0.2 > mine.yaml
    """
    from slicing_rllib.service.config import dump_resolved_yaml, load_config
    from slicing_rllib.service.console import print_json

    loaded = load_config(config, settings or [])
    if json:
        print_json(loaded.model_dump(mode="json"))
    else:
        typer.echo(dump_resolved_yaml(loaded), nl=False)


@app.command()
def check(config: Config, settings: Settings = None, json: Json = False) -> None:
    """Checks a config and prints its number of cells and steps.

    Steps its network twice to see that it can be simulated. If the config is not valid, prints one
    line that says where and why; the exit code is then 2.

    Example: slicing-rllib config check mine.yaml
    """
    from slicing_rllib.service.config import load_config
    from slicing_rllib.service.console import print_json
    from slicing_rllib.service.runs.trial_step import check_memory, check_network

    loaded = load_config(config, settings or [])
    check_memory(loaded, config)
    check_network(loaded, config)
    facts = {"cells": len(loaded.scenario.cells), "steps": loaded.total_steps}
    if json:
        print_json({"config": config, "valid": True, **facts})
    else:
        typer.echo(f"{config}: valid, {facts['cells']} cells, {facts['steps']} steps")


@app.command()
def schema(json: Json = False) -> None:
    """Prints the JSON Schema of configs, with which editors complete and check YAML files.

    Example: slicing-rllib config schema > slicing-rllib.schema.json
    """
    from slicing_rllib.service.config import make_json_schema
    from slicing_rllib.service.console import print_json

    print_json(make_json_schema())
