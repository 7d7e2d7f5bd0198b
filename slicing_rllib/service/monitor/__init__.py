"""The live page of a run: reads run directories, writes nothing, needs no Ray."""

from slicing_rllib.service.monitor.server import monitor_app

__all__ = ["monitor_app"]
