"""What the run of a whole search says of it in MLflow."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from search.environment import environment
from search.errors import without_password
from search.planning.job import Job

__all__ = ["SearchRun", "flat"]

CLUSTER = "cluster."


@dataclass(frozen=True)
class SearchRun:
    """Of one search. config: its words as they were understood. params: the same, flat, without the cluster's."""

    experiment: str
    study: str
    params: Mapping[str, Any]
    tags: Mapping[str, str]
    config: Mapping[str, Any]
    environment: Mapping[str, Any]
    question: str = ""

    @property
    def own_tags(self) -> dict[str, str]:
        """The tags of every run: what they are of, the code, and the command that makes them again."""
        commit, dirty = self.environment.get("git_commit"), self.environment.get("git_dirty")
        told = {"wavezoo.command": str(self.environment.get("command", ""))}
        if commit:
            told |= {"mlflow.source.git.commit": str(commit), "git_dirty": str(bool(dirty)).lower()}
        return {**self.tags, **told}

    @classmethod
    def of(cls, job: Job) -> "SearchRun":
        """Of the search that is about to begin."""
        config = asdict(job.settings)
        config |= {key: config[key] and without_password(config[key]) for key in ("storage", "tracking")}
        tags = {"dataset": job.data.name, "fingerprint": str(job.data.fingerprint), "space": job.space.name}
        return cls(
            experiment=job.model,
            study=job.study,
            params={key: value for key, value in flat(config).items() if not key.startswith(CLUSTER)},
            tags=tags,
            config=config,
            environment={**environment(), **tags, "command": job.command},
            question=job.space.question,
        )


def flat(record: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as `training.batch_size`-like keys."""
    found: dict[str, Any] = {}
    for key, value in record.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found
