"""Tables in a terminal."""

import io
import json

from rich.console import Console

from slicing_rllib.cli.console import make_hours_table, make_sweep_table, print_json


def print_lines(table, width: int = 80) -> list[str]:
    text = io.StringIO()
    Console(file=text, width=width).print(table)
    return text.getvalue().splitlines()


def make_trial(number: int, error: str | None = None, **settings: object) -> dict:
    return {
        "trial_id": f"ab12_{number:05d}",
        "settings": settings,
        "value": None if error else 0.9 - 0.01 * number,
        "env_steps": 1000,
        "error": error,
    }


def test_a_sweep_table_fits_a_terminal_of_80_columns():
    """Eight settings with long names, two of them the same in all trials, and a long error."""
    settings = {f"learning.section_{k}.setting_number_{k}": 0.00012345 for k in range(6)}
    shared = {"learning.batch_size": 256, "env.message": "mean_load"}
    rows = [
        make_trial(i, **{key: value * (i + 1) for key, value in settings.items()}, **shared)
        for i in range(3)
    ]
    rows.append(make_trial(3, "out of memory " * 10, **settings, **shared))
    lines = print_lines(make_sweep_table(rows))

    assert max(map(len, lines)) <= 80
    assert any("ab12_00000" in line and "0.9" in line for line in lines)
    assert any("all: learning.batch_size 256, env.message mean_load" in line for line in lines)
    assert any(line.strip().startswith("ab12_00003: out of memory") for line in lines)


def test_settings_that_end_alike_keep_their_whole_names():
    rows = [make_trial(i, **{"a.rate": i, "b.rate": i, "a.size": i}) for i in range(2)]
    (head,) = (
        line for line in print_lines(make_sweep_table(rows)) if "trial" in line and "┃" in line
    )

    assert [word for word in head.split() if word.endswith(("rate", "size"))] == [
        "a.rate", "b.rate", "size",
    ]  # fmt: skip


def test_the_busy_hour_is_marked():
    row = {"td3": {"reward_mean": 0.9, "fail_rate_95": 0.1}}
    lines = print_lines(make_hours_table({"busy_hour": 17, "by_hour": {"8": row, "17": row}}))

    assert any("08:00 " in line and "0.900" in line for line in lines)
    assert sum("17:00 busy" in line for line in lines) == 1


def test_json_has_null_for_what_is_not_finite(capsys):
    """Readers of JSON refuse NaN."""
    print_json({"a": [float("nan"), 1.5], "b": (float("inf"),)})
    assert json.loads(capsys.readouterr().out) == {"a": [None, 1.5], "b": [None]}
