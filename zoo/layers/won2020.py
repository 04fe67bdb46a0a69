"""What the networks that Won et al. 2020 compared share: their spectrogram, schedule and splits."""

from collections.abc import Mapping

from zoo.entry import Option
from zoo.facts import HowTrained, PaperRow

__all__ = ["CODE", "DROPOUT", "FFT_SAMPLES", "HOP_SAMPLES", "SAMPLE_RATE_HZ", "SOURCE", "TRAINED", "rows"]

SOURCE = (
    "Won, Ferraro, Bogdanov, Serra: Evaluation of CNN-based Automatic Music Tagging Models, SMC 2020, "
    "https://arxiv.org/abs/2006.00751"
)
CODE = "https://github.com/minzwon/sota-music-tagging-models"
SAMPLE_RATE_HZ = 16_000
FFT_SAMPLES, HOP_SAMPLES = 512, 256
TRAINED = HowTrained(
    optimizer="adam",
    learning_rate=1e-4,
    batch_size=16,
    weight_decay=1e-4,
    norm_momentum=0.1,
    note="the authors' code: Adam for 80 epochs, then Nesterov SGD at 1e-3, 1e-4 and 1e-5, about 20 epochs each, "
    "every stage from the best weights so far; segments at random places of the clip",
)
DROPOUT: Mapping[str, Option] = {
    "dropout": Option(0.5, "share of the embedding left out in training", low=0, high=0.95, harmless=True)
}


def rows(mtat: float | None, msd: float | None, grade: str = "C") -> tuple[PaperRow, ...]:
    """The AUCs of their table, from memory unless a grade says better.

    Their MTAT split leaves clips out and compares with no other; on MSD they used the usual lists.
    """
    known = (("mtat", "cleaned", mtat), ("msd", "paper", msd))
    return tuple(
        PaperRow("won2020", dataset, split, auc, grade) for dataset, split, auc in known if auc is not None
    )
