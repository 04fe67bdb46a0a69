"""What can be known of a network: published numbers, cost, certainty."""

from dataclasses import dataclass

from zoo.errors import ZooError

__all__ = ["Certainty", "Cost", "Counted", "HowTrained", "PaperRow", "Value"]

Value = int | float | str
GRADES = {
    "A": "read in the authors' own code, their released model, or the paper",
    "B": "read in another implementation or a poster",
    "C": "from memory of a paper; unverified",
    "G": "a guess or a design choice of this project",
}
ORIGINS = ("published", "reference")


@dataclass(frozen=True)
class PaperRow:
    """One published number: macro ROC-AUC (0 to 1) of `dataset`'s test clips, with its split convention.

    table: "table2", "table3", "table4" of Lee et al. 2017, or the name of another source, such as "kim2018".
    split: the name of the split in `datasets` ("paper": 15,244 / 1,529 / 4,332 clips), or "cleaned" for the one of
           Won et al. 2020, whose numbers do not compare with the paper's.
    grade: how sure the number is, one of `GRADES`.
    doubt: what speaks against it, where its own authors doubt it.
    """

    table: str
    dataset: str
    split: str
    auc: float
    grade: str = "A"
    doubt: str = ""

    def __post_init__(self) -> None:
        if self.grade not in GRADES:
            raise ZooError(f"grade {self.grade!r} is not one of {', '.join(GRADES)}")


@dataclass(frozen=True)
class Cost:
    """What one network costs.

    parameters:    trainable numbers, batch norm's scale and shift included.
    multiply_adds: of one forward pass over one segment; convolutions and dense layers (a spectrogram is not
                   counted).
    training_bytes: of activations that training keeps for the backward pass of one segment, in float32.
    frozen:        numbers that no training moves, of trained networks inside this one.
    """

    parameters: int
    multiply_adds: int
    training_bytes: int
    frozen: int = 0


@dataclass(frozen=True)
class Counted:
    """A parameter count by somebody else, and in words why ours differs (empty where it does not).

    origin: "published" by the authors, or "reference": measured on an implementation independent of this one.
    """

    parameters: int
    difference: str = ""
    origin: str = "published"

    def __post_init__(self) -> None:
        if self.origin not in ORIGINS:
            raise ZooError(f"origin {self.origin!r} is not one of {', '.join(ORIGINS)}")


@dataclass(frozen=True)
class HowTrained:
    """How a network's authors trained it, as far as it is known: what a search of it starts from.

    optimizer:     one of "nesterov", "sgd", "adam", "adagrad".
    learning_rate: the first one.
    batch_size:    None: unknown.
    norm_momentum: share of a new batch in batch norm's running statistics, as torch has it; None: no batch norm, or
                   unknown.
    note:          what these numbers leave out, and how sure they are.
    """

    optimizer: str
    learning_rate: float
    batch_size: int | None = None
    weight_decay: float = 0.0
    norm_momentum: float | None = None
    note: str = ""


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
