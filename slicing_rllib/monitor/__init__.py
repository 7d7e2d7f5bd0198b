"""The live web page of a run: reads run directories, writes nothing, needs no Ray."""

from slicing_rllib.monitor.server import MonitorServer, make_monitor_app

__all__ = ["MonitorServer", "make_monitor_app"]
