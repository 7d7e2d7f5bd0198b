"""`slicing-rllib bench`: one subcommand per benchmark."""

import typer

from slicing_rllib.benchmarks.commands import operation, simulation, training

app = typer.Typer(
    no_args_is_help=True,
    help="Runs a benchmark and prints its results as a table, or with --json as JSON lines.",
)

app.command()(simulation.calibration)
app.command("calibrate-traffic")(simulation.calibrate_traffic)
app.command()(simulation.simulator)
app.command()(simulation.coupling)
app.command()(training.learning)
app.command("gymnasium")(training.gymnasium_tasks)
app.command()(training.transfer)
app.command()(operation.cluster)
app.command()(operation.telemetry)
app.command()(operation.serving)
app.command()(training.ceiling)
app.command("vae")(training.vae_weight)
