"""`differ run`: modules in one process, each started, stopped, paused and resumed on its own, also from outside.

module      what is hosted: the contract, and when a failed one is started again
hosted      one module with its state        host      all modules of the process, until it is told to end
control     the socket of a process          ask       whoever talks to it: 'differ modules', the relay over HTTP
hosting     settings -> modules: scheduler, face (relay and bootstrap), sinks
reload      SIGHUP: which modules another configuration changes        graphite   measures for Graphite
"""

from __future__ import annotations

from differ.runtime.ask import ask
from differ.runtime.control import Control, control_folder
from differ.runtime.host import Runtime
from differ.runtime.module import ACTIONS, Module
from differ.runtime.scheduler import SchedulerModule

__all__ = ["ACTIONS", "Control", "Module", "Runtime", "SchedulerModule", "ask", "control_folder"]
