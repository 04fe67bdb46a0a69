"""Jobs that are planned and not run, and a cluster to plan them for."""

from search import spaces
from search.planning import data
from search.planning.hardware import Machines
from search.planning.job import Job
from search.words import read_words

EIGHT = Machines("NVIDIA H200", 8, None, 141 * 10**9, None)


def a_job(*words: str, on: Machines | None = None) -> Job:
    settings = read_words(["dataset=demo", "budget=small", "plan=true", *words])
    limit = on.trial_bytes if on else None
    return Job.of(settings, spaces.load(settings.space), data.find(settings), words, limit)
