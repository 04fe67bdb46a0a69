"""A Ray head node of a test's own, on this machine, with a token of its own."""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ports import free_port

RAY = Path(sys.executable).with_name("ray")


@contextmanager
def ray_head(cpus: int = 2, gpus: int = 0) -> Iterator[tuple[str, dict[str, str]]]:
    """Its HOST:PORT and the environment of those who may use it; it ends with the context.

    gpus: that it says it has; Ray takes its word for it.
    """
    more = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_worker_niceness": "0"}
    # Nodes find the readers of the tests as they find the project itself.
    paths = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, **more, "PYTHONPATH": os.pathsep.join(paths)}
    port, folder = free_port(), Path("/tmp") / f"wz{secrets.token_hex(4)}"  # sockets want a short path
    words = ["start", "--head", "--block", f"--port={port}", "--node-ip-address=127.0.0.1"]
    words += [
        f"--num-cpus={cpus}",
        f"--num-gpus={gpus}",
        "--include-dashboard=false",
        "--disable-usage-stats",
    ]
    process = subprocess.Popen(
        [str(RAY), *words, f"--temp-dir={folder}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    )
    try:
        _wait_for(port, process)
        yield f"127.0.0.1:{port}", environment
    finally:
        process.terminate()  # the blocked head takes its own processes with it, and no others
        process.communicate(timeout=60)
        shutil.rmtree(folder, ignore_errors=True)


def _wait_for(port: int, process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.2)  # a poll, not a guess: the loop ends with the port or with the process
    raise AssertionError(f"Ray's head did not come up: {process.communicate()[0] if process.stdout else ''}")
