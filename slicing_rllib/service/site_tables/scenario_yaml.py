"""The config of a network with given sites, as YAML."""

from collections.abc import Mapping
from typing import Any

import yaml
from pydantic import TypeAdapter

from slicing_rllib.radio import SiteSpec
from slicing_rllib.service.site_tables.sites import Sites


def make_config(
    name: str,
    like: str,
    sites: Sites,
    margin_m: float,
    *,
    mask: Mapping[str, Any] | None = None,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """The content of a config: the scenario `like` with other sites and, if given, other traffic.

    `margin_m` is the distance between the outermost sites and the edge of the area, and `settings`
    are the other sections of the config, such as `learning`.
    """
    adapter = TypeAdapter(SiteSpec)
    plain = [
        adapter.dump_python(site, mode="json", exclude_defaults=True, exclude_none=True)
        for site in sites.sites
    ]
    layout = {"kind": "sites", "margin_m": margin_m, "sites": plain}
    traffic = {} if mask is None else {"mask": dict(mask)}
    scenario = {"like": like, "name": name, **traffic, "layout": layout}
    return {"name": name, **(settings or {}), "scenario": scenario}


def format_config(config: dict[str, Any], source: str, sites: Sites) -> str:
    """The YAML, with comments that say where it comes from and where its origin lies."""
    lines = [f"# Made by `slicing-rllib scenario from-sites` from {source}."]
    lines.append("# x_m points east and y_m north; azimuths count anticlockwise from east.")
    if sites.centre is not None:
        lines.append(f"# The origin is at {sites.centre[0]:.6f} N, {sites.centre[1]:.6f} E.")
    lines += [f"# Note: {notice}." for notice in sites.notices]
    text = yaml.safe_dump(
        config, sort_keys=False, allow_unicode=True, width=100, default_flow_style=None
    )
    return "\n".join(line.replace("\n", " ") for line in lines) + f"\n{text}"
