"""What can be known of a network: published numbers, cost, certainty."""

from dataclasses import dataclass

from zoo.errors import ZooError

__all__ = ["Certainty", "Cost", "PaperRow", "Value"]

Value = int | float | str
GRADES = {
    "A": "read in the authors' own code, their released model, or the paper",
    "B": "read in another implementation or a poster",
    "C": "from memory of a paper; unverified",
    "G": "a guess or a design choice of this project",
}


@dataclass(frozen=True)
class PaperRow:
    """One published number: macro ROC-AUC (0 to 1) of `dataset`'s test clips, with its split convention.

    table: "table2", "table3", ... of Lee et al. 2017.
    split: the name of the split in `datasets` ("paper": 15,244 / 1,529 / 4,332 clips).
    """

    table: str
    dataset: str
    split: str
    auc: float


@dataclass(frozen=True)
class Cost:
    """What one network costs.

    parameters:    trainable numbers, batch norm's scale and shift included.
    multiply_adds: of one forward pass over one segment; convolutions and dense layers (a spectrogram is not
                   counted).
    """

    parameters: int
    multiply_adds: int


@dataclass(frozen=True)
class Certainty:
    """How sure the layers of an entry are: a grade of `GRADES` and what it rests on."""

    grade: str
    note: str

    def __post_init__(self) -> None:
        if self.grade not in GRADES:
            raise ZooError(f"certainty {self.grade!r} is not one of {', '.join(GRADES)}")

    def __str__(self) -> str:
        return f"{self.grade} ({GRADES[self.grade]}): {self.note}"
