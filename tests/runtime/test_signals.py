"""A signal that the kernel gives to another thread than the main one, as it may when a frozen process goes on."""

import subprocess
import sys
from pathlib import Path

CODE = """
import signal, sys, threading
from collections.abc import Mapping
from pathlib import Path
from differ.runtime.host import Runtime

class Teller:
    "Sends SIGTERM to a thread of its own, once the main one waits for it."
    def start(self):
        threading.Thread(target=self.tell, daemon=True).start()
    def tell(self):
        main, still = threading.main_thread().ident, 0
        while still < 1000:
            frame = sys._current_frames()[main]
            still = still + 1 if frame.f_code.co_filename.endswith("host.py") else 0
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
    def stop(self):
        print("stopped")
    def pause(self): ...
    def resume(self): ...
    def failure(self): return None
    def status(self): return {}

Runtime({"teller": Teller()}).run_forever(Path(sys.argv[1]))
"""


def test_it_stops_whichever_thread_is_given_the_signal(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE, tmp_path], timeout=60, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "stopped\n"), done
