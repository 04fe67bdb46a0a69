"""A real MLflow server of a test's own, on this machine: PostgreSQL behind it, artifacts through it, passwords on."""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from ports import free_port

USER, PASSWORD = "admin", "a-long-password-of-a-test"
PATIENCE_SECONDS = 240.0  # making its tables takes seconds, and others may want the cores


class Server:
    """backend: SQLAlchemy address. folder: where artifacts and accounts lie; they outlive a stop and a start."""

    def __init__(self, backend: str, folder: Path) -> None:
        self.port = free_port()
        self.backend, self.folder = backend, folder
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        """The command of the README, but for the port and the number of workers."""
        words = (
            *("server", "--app-name", "basic-auth", "--host", "127.0.0.1", "--port", str(self.port)),
            *("--backend-store-uri", self.backend, "--artifacts-destination", str(self.folder / "artifacts")),
            *("--workers", "1", "--allowed-hosts", "127.0.0.1:*"),
        )
        log = (self.folder / "server.log").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *words],
            env={
                **os.environ,
                "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
                "MLFLOW_AUTH_ADMIN_USERNAME": USER,
                "MLFLOW_AUTH_ADMIN_PASSWORD": PASSWORD,
                "MLFLOW_FLASK_SERVER_SECRET_KEY": "a-key",
            },
            cwd=self.folder,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        log.close()

    def kill(self) -> None:
        """Without mercy, as a machine goes that loses its power."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(timeout=60)

    def wait(self) -> None:
        """Until it answers."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            if self.answer("/health") == 200:
                return
            time.sleep(0.2)  # a poll, not a guess
        raise AssertionError((self.folder / "server.log").read_text()[-2000:])

    def answer(self, path: str) -> int:
        """The status without a password; 0 where nobody answers."""
        try:
            with urllib.request.urlopen(self.url + path, timeout=5) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            error.close()
            return int(error.code)
        except OSError:
            return 0
