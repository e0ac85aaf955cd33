"""The build hook that compiles kernels.c when differ is installed or packed; hatchling calls it.

Without a C compiler the package is still made, without the library, and says so: everything works then, slower. The
library knows nothing of Python, so one file serves every version of it.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = Path(__file__).parent
FLAGS = ("-O3", "-std=c11", "-shared", "-fPIC", "-fvisibility=default")


class KernelsBuildHook(BuildHookInterface[Any]):
    """Adds `differ/kernels/kernels.so` to the wheel, which is then made for this platform."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile; a failure is a warning."""
        if self.target_name != "wheel":
            return
        target, made = FOLDER / "kernels.so", FOLDER / f".kernels-{os.getpid()}.so"
        compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
        failures = []
        for name in dict.fromkeys(("cc", compiler, "gcc", "clang")):
            command = [name, *FLAGS, "-o", str(made), str(FOLDER / "kernels.c")]
            try:
                subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
            except (OSError, subprocess.SubprocessError) as error:
                failures.append(f"{name}: {getattr(error, 'stderr', None) or error}")
                continue
            os.replace(made, target)  # whole or absent, also for processes that have the old one mapped
            break
        else:
            target.unlink(missing_ok=True)
            self.app.display_warning(
                "differ is installed without its compiled kernels, which makes scans several times slower: no C "
                f"compiler worked ({'; '.join(failures)}). Install one, such as gcc, and install differ again."
            )
            return
        build_data["artifacts"].append("/differ/kernels/kernels.so")
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"
        self.app.display_debug(f"compiled for {platform.machine()}")
