"""`slicing-rllib config show|check|schema`"""

import typer

from slicing_rllib.service.commands.options import Config, Json, Settings

app = typer.Typer(no_args_is_help=True, help="Configs: resolved, checked, or their JSON Schema.")


@app.command()
def show(config: Config = "quick", settings: Settings = None, json: Json = False) -> None:
    """The whole config, defaults written out.

    Example: slicing-rllib config show paper --set learning.gamma=0.2 > mine.yaml
    """
    from slicing_rllib.service.config import load_config, resolved_yaml
    from slicing_rllib.service.console import print_json

    loaded = load_config(config, settings or [])
    if json:
        print_json(loaded.model_dump(mode="json"))
    else:
        typer.echo(resolved_yaml(loaded), nl=False)


@app.command()
def check(config: Config, settings: Settings = None, json: Json = False) -> None:
    """Exit code 0 for a config that can be run; else 2 and one line that says where and why.

    Example: slicing-rllib config check mine.yaml
    """
    from slicing_rllib.service.config import load_config
    from slicing_rllib.service.console import print_json

    loaded = load_config(config, settings or [])
    facts = {"cells": len(loaded.scenario.cells), "steps": loaded.total_steps}
    if json:
        print_json({"config": config, "valid": True, **facts})
    else:
        typer.echo(f"{config}: valid, {facts['cells']} cells, {facts['steps']} steps")


@app.command()
def schema(json: Json = False) -> None:
    """JSON Schema of configs, for editors that complete and check YAML.

    Example: slicing-rllib config schema > slicing-rllib.schema.json
    """
    from slicing_rllib.service.config import json_schema
    from slicing_rllib.service.console import print_json

    print_json(json_schema())
