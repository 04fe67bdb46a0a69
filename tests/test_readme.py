"""Every command of the README is one that works."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from ports import free_port

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PYTHON = "uv run python -m "
# Commands that a test elsewhere runs, or CI itself: in that file, these words.
ELSEWHERE = {
    "pip install uv && uv run pytest": (".ci/run", "uv run pytest"),
    "uv run python -m datasets.build name=mtat source=/music/mtat": ("tests/test_datasets_mtat.py", "source"),
    "uv run python -m datasets.build name=folder source=/my/music csv=/my/tags.csv called=mymusic": (
        "tests/test_datasets_folder.py",
        "called",
    ),
    "uv run python -m search.run space=table3 dataset=mymusic budget=medium": (
        "tests/test_search_words.py",
        "dataset=mymusic",
    ),
    "uv run python -m datasets.build name=msd source=/msd/clips lists=/msd/lists labels=/msd/lastfm_tags.db": (
        "tests/test_datasets_msd.py",
        "labels",
    ),
    "uv run mlflow server --host 127.0.0.1 --backend-store-uri sqlite:///wavezoo-data/mlflow.db": (
        "tests/test_readme.py",
        "def test_mlflow_opens",
    ),
    "uv run python -m dashboards": ("tests/test_dashboards_serving.py", '"dashboards", "port=0"'),
    "uv run python -m dashboards export out=pictures": ("tests/test_dashboards.py", '"export"'),
    "uv run python -m zoo tag song.mp3 model=models:/mtat-table2@champion": (
        "tests/test_search_whole.py",
        '"zoo", "tag"',
    ),
    "uv run python -m zoo tag song.mp3 model=models:/mymusic-table3@champion": (
        "tests/test_search_whole.py",
        '"zoo", "tag"',
    ),
    "uv run python -m zoo tag /my/music model=models:/mtat-table2@champion top=5 format=csv": (
        "tests/test_zoo_tagging.py",
        '"format=csv"',
    ),
    "uv run python -m zoo tag song.mp3 model=models:/mtat-table2@champion timeline=true format=json": (
        "tests/test_zoo_tagging.py",
        '"timeline=true"',
    ),
    "uv run python -m search.publish RUN": ("tests/test_search_publish.py", "assert main([word,"),
    'uv run python -m search.publish RUN force=true reason="the old one was trained on wrong labels"': (
        "tests/test_search_publishing.py",
        '"force=true"',
    ),
    "uv run python -m zoo info models:/demo-table2@champion": (
        "tests/test_zoo_model_screen.py",
        '"models:/demo-table2@champion"',
    ),
    "uv run mlflow models serve --model-uri models:/demo-table2@champion --env-manager local --port 5001": (
        "tests/test_zoo_served.py",
        '"models", "serve"',
    ),
    "export MLFLOW_TRACKING_URI=sqlite:///$PWD/wavezoo-data/mlflow.db": (
        "tests/test_zoo_served.py",
        '"MLFLOW_TRACKING_URI"',
    ),
    'curl http://127.0.0.1:5001/invocations -H "Content-Type: application/json" '
    """-d '{"dataframe_records": [{"samples": [0.0, 0.5, -0.5], "rate": 44100}]}'""": (
        "tests/test_zoo_served.py",
        "readme_question()",
    ),
    "uv run python -m zoo export model=models:/demo-table2@champion format=onnx out=tagger.onnx": (
        "tests/test_zoo_export.py",
        'main(["export"',
    ),
    "uv run python -m zoo import network=samplecnn_m3_n9_s3 weights=theirs.pth tags=tags.txt out=adopted": (
        "tests/test_zoo_foreign.py",
        'main(["import"',
    ),
    "uv run python -m zoo.probe model=models:/demo-table2@champion out=filters": (
        "tests/test_zoo_filters.py",
        "probe.main(words)",
    ),
    "uv run python -m search.compare demo-table2-1a2b3c/samplecnn_m3_n9_s3 demo-table2-1a2b3c/samplecnn_m3_n4_s729": (
        "tests/test_search_rescore.py",
        'compare.main(["demo-one"',
    ),
    "uv run python -m search.table demo-table2-1a2b3c format=latex out=table2.tex": (
        "tests/test_search_table.py",
        'table.main([search, "format=latex", f"out={file}"])',
    ),
    "uv run python -m search.table demo-table2-1a2b3c format=csv tags=true": (
        "tests/test_search_table.py",
        'table.main([search, "format=csv", "tags=true"])',
    ),
    "uv run python -m search.rescore demo-table2-1a2b3c": (
        "tests/test_search_rescore.py",
        "rescore.main([",
    ),
    "export MLFLOW_AUTH_ADMIN_USERNAME=admin MLFLOW_AUTH_ADMIN_PASSWORD=CHANGE-ME "
    "MLFLOW_FLASK_SERVER_SECRET_KEY=CHANGE-ME-TOO": ("tests/mlflow_server.py", "MLFLOW_AUTH_ADMIN_PASSWORD"),
    'uv run mlflow server --app-name basic-auth --host 0.0.0.0 --allowed-hosts "localhost:*,HOST:*" '
    "--backend-store-uri postgresql+psycopg://USER:PASSWORD@HOST/mlflow --artifacts-destination /shared/mlflow": (
        "tests/mlflow_server.py",
        '"--app-name", "basic-auth"',
    ),
    "export WAVEZOO_HOME=/shared/wavezoo RAY_AUTH_MODE=token RAY_memory_monitor_refresh_ms=0 RAY_worker_niceness=0": (
        "tests/ray_head.py",
        "RAY_AUTH_MODE",
    ),
    "uv run ray get-auth-token --generate": ("tests/ray_head.py", "RAY_AUTH_TOKEN"),
    "uv run ray start --head --port=6379": ("tests/ray_head.py", '"start", "--head"'),
}


def commands() -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


def run(words: list[str], home: Path) -> str:
    environment = {**os.environ, "WAVEZOO_HOME": str(home)}
    answer = subprocess.run(
        [sys.executable, "-m", *words], env=environment, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


@pytest.mark.parametrize("command", [line for line in commands() if line not in ELSEWHERE])
def test_a_command_of_the_readme_is_understood(command: str, fresh_home: Path) -> None:
    """Searches are only planned here; MTAT's place is taken by the rendered data set."""
    words = shlex.split(command.rpartition(PYTHON)[2].replace("dataset=mtat", "dataset=demo"))
    assert PYTHON in command, f"no test knows how to run: {command}"
    if words[0] == "search.run" and "--help" not in words:
        words = [*(word for word in words if word != "plan=true"), "plan=true"]
    assert run(words, fresh_home)


@pytest.mark.parametrize("command", ELSEWHERE)
def test_the_other_commands_are_run_elsewhere(command: str) -> None:
    file, words = ELSEWHERE[command]
    assert command in commands(), "the README has lost this command"
    assert words in (ROOT / file).read_text(encoding="utf-8")


@pytest.mark.slow
def test_mlflow_opens_the_store_of_a_search(mlflow_db: Path, tmp_path: Path) -> None:
    shutil.copy(mlflow_db, tmp_path / "mlflow.db")
    port = free_port()
    server = subprocess.Popen(
        [
            *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)),
            *("--workers", "1", "--backend-store-uri", f"sqlite:///{tmp_path / 'mlflow.db'}"),
        ],
        env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        assert answers(f"http://127.0.0.1:{port}/health", server)
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=60)


def answers(url: str, server: "subprocess.Popen[bytes]") -> bool:
    """Whether the address answers before two minutes are over; False at once if the server ends."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            time.sleep(0.2)  # a poll, not a guess
    return False


def test_the_file_tree_is_complete() -> None:
    tree = README.rpartition("## Files")[2]
    chosen = ("budget", "sampler", "pruner")  # one choice a file, as the line of conf/ says
    for package in ("datasets", "zoo", "search", "dashboards", "tests"):
        for file in (ROOT / package).rglob("*") if package != "tests" else (ROOT / package).glob("*"):
            told = file.parent.name not in chosen and file.name != "__init__.py"
            if told and file.suffix in (".py", ".yaml", ".html") and not re.match("test_|_", file.name):
                place = file.relative_to(ROOT)
                assert file.name in named_in(tree, place.parent.parts), f"the README's tree lacks {place}"


def named_in(tree: str, folders: tuple[str, ...]) -> set[str]:
    """The files that the tree names in a folder, by what it is indented."""
    named: set[str] = set()
    path: list[str] = []
    for line in tree.splitlines():
        indent = len(line) - len(line.lstrip())
        if indent <= 2 * len(folders):  # else it goes on with the line before, or is of a folder below
            depth = indent // 2
            path = path[:depth]
            if found := re.match(r"(\w+)/(?= )", line.strip()):
                path = [*path, found[1]]
        if tuple(path) == folders:
            named |= set(re.findall(r"[\w.]+\.\w+", line))
    return named
