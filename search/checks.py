"""Whether a word or a number can be what it is given as."""

import re
from typing import TypeGuard

from datasets.head import host_and_port
from search.errors import ConfigError, without_password

__all__ = [
    "AUTO",
    "A_NAME",
    "LOCAL",
    "check_address",
    "check_ledger",
    "check_storage",
    "check_tracking",
    "is_name",
    "is_number",
]

AUTO = "auto"
LOCAL = "local"  # the address of a cluster of this machine alone
TRACKING = r"https?://[^/?#]+.*|(sqlite|postgresql|mysql|mssql)(\+\w+)?://.+|databricks(-uc)?(://.*)?"
A_NAME = "give up to 100 letters, digits, '.', '_' and '-', a letter or digit first"


def is_name(word: str) -> bool:
    """Whether a word can name a study: it becomes a file's name, and part of questions to databases."""
    return re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,99}", word) is not None


def check_address(address: str) -> None:
    """raises: ConfigError unless a cluster can have it."""
    if address not in (LOCAL, AUTO) and host_and_port(address) is None:
        raise ConfigError(
            f"cluster.address={address}: give HOST:PORT of the cluster's head, as 10.0.0.1:6379, 'auto' for the "
            f"cluster that this machine belongs to, or 'local'"
        )


def check_ledger(address: str) -> None:
    """raises: ConfigError unless it has the form of a database's address."""
    if not re.fullmatch(r"\w[\w+]*://.*", address, re.DOTALL):
        raise ConfigError(
            f"storage={without_password(address)}: give an address, such as sqlite:////folder/studies.db or "
            f"postgresql+psycopg://USER:PASSWORD@HOST/DATABASE"
        )


def check_tracking(address: str, word: str = "tracking") -> None:
    """raises: ConfigError unless MLflow may listen there. word: that gives the address.

    What MLflow takes for a folder of files it no longer writes to; it would be told so for ever.
    """
    if not re.fullmatch(TRACKING, address):
        raise ConfigError(
            f"{word}={without_password(address)}: give MLflow's server or its database, such as http://HOST:5000 or "
            f"sqlite:////folder/mlflow.db"
        )


def check_storage(address: str) -> None:
    """raises: ConfigError unless trials can lie there."""
    if "@" in address or "?" in address:
        raise ConfigError(
            f"cluster.storage={without_password(address).partition('?')[0]}: keys and options don't belong into an "
            f"address; set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_ENDPOINT_URL on all machines"
        )
    if not re.fullmatch(r"s3://[a-z0-9][a-z0-9.-]+(/[^/]+)*/?|/.+", address):
        raise ConfigError(f"cluster.storage={address}: give s3://BUCKET/PREFIX, or an absolute path")


def is_number(value: object) -> TypeGuard[int | float]:
    """A whole or broken number; True and False are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)
