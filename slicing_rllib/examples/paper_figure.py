"""A figure of a run in the width of a paper's column, from tidy tables.

    python -m slicing_rllib.examples.paper_figure RUN

`slicing-rllib report RUN --format latex --width 3.5in` does the same with all figures and tables.
"""

import sys

from matplotlib.figure import Figure

import slicing_rllib


def main(path: str, out: str = "paper_figure.pdf") -> None:
    """Draws how often each policy keeps the SLA, best first."""
    run = slicing_rllib.load_run(path)
    failing = run.policies[run.policies["metric"] == "fail_rate_95"].sort_values("mean")
    figure = Figure(figsize=(3.5, 2.2), layout="constrained")
    axes = figure.subplots()
    axes.barh(failing["policy"], 100 * failing["mean"], color="#0072B2")
    axes.set_xlabel("cells and steps below 95 % of the SLA, %")
    axes.tick_params(labelsize=7)
    figure.savefig(out)
    print(f"{out}: seed {run.config.seed}, {len(run.curve)} points of the learning curve")


if __name__ == "__main__":
    main(*sys.argv[1:])
