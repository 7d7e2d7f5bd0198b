"""The live page of a run: reads run directories, writes nothing, needs no Ray."""

from slicing_rllib.monitor.server import MonitorServer, monitor_app

__all__ = ["MonitorServer", "monitor_app"]
