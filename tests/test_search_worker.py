"""What a worker's process has loaded once it has trained: nothing that it has no use for."""

import json
import subprocess
import sys
from pathlib import Path

from search import spaces
from search.planning import data
from search.planning.job import Job
from search.words import read_words

# Trackers, samplers, metrics, databases, servers and what only drivers and dashboards need.
UNUSED = {
    *("mlflow", "optuna", "sklearn", "scipy", "sqlalchemy", "alembic", "hydra", "omegaconf"),
    *("fastapi", "flask", "jinja2", "streamlit", "plotly", "matplotlib", "onnx", "onnxruntime"),
}
WHOLE_TRIAL = """
import json, sys
from search.running.process import TrialProcess

process = TrialProcess.__new__(TrialProcess)  # without Tune around it, which would set it up by itself
process.setup(json.loads(sys.argv[1]))
row = process.step()
while not row["done"]:
    row = process.step()
process.cleanup()
print(json.dumps([row.get("epoch"), row.get("failure"), sorted({name.split(".")[0] for name in sys.modules})]))
"""


def test_a_worker_that_has_trained_has_loaded_nothing_that_it_does_not_use(fresh_home: Path) -> None:
    words = ["space=smoke", "dataset=demo", "budget=small", "budget.multiply_adds_per_epoch=1e8"]
    wanted = read_words(words)
    job = Job.of(wanted, spaces.load(wanted.space), data.find(wanted), words)
    settings = job.grid()[0].trial
    config = {
        "home": str(fresh_home),
        "threads": 1,
        "lineage": {},
        "settings": settings.to_json(),
        "signature": settings.signature(),
    }
    answer = subprocess.run(
        [sys.executable, "-c", WHOLE_TRIAL, json.dumps(config)], capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    epoch, failure, loaded = json.loads(answer.stdout.splitlines()[-1])
    assert (epoch, failure) == (2, None)
    assert {"torch", "pyarrow"} <= set(loaded)
    assert UNUSED.isdisjoint(loaded), UNUSED.intersection(loaded)
