"""The most that a search may take: a plan that is clearly larger is refused. See running/meter.py for while it runs."""

from search.errors import ConfigError
from search.planning.estimates import Outlook
from search.planning.hardware import Machines
from search.settings import Limits

HOUR = 3600.0


def check(limits: Limits, found: Outlook, machines: Machines, spent_seconds: float = 0.0) -> None:
    """Refuse a plan that takes more even if all goes as fast as it very likely can.

    spent_seconds: of devices, by earlier commands of the search.
    raises: ConfigError that says by how much, and what to change.
    """
    taken = [
        (
            "gpu_hours",
            limits.gpu_hours,
            spent_seconds + found.low,
            spent_seconds + found.device_seconds,
            machines.unit,
        ),
        ("wall_hours", limits.wall_hours, found.least_wall_seconds, found.wall_seconds, "hours by the clock"),
    ]
    for word, limit, least, likely, unit in taken:
        if limit is not None and found.trainings and least > limit * HOUR:
            raise ConfigError(
                f"budget.{word}={limit:g}: the plan takes roughly {rounded(likely / HOUR)} {unit} and very likely "
                f"{rounded(least / HOUR)} or more, {rounded(least / HOUR / limit)} times as much; raise it, or lower "
                f"seeds, trials, budget or the space" + (", or add GPUs" if word == "wall_hours" else "")
            )


def rounded(number: float) -> str:
    """A number with two digits that count, and no fewer than it has before the point."""
    if number >= 100:
        return f"{number:,.0f}"
    return f"{number:.2g}"
