"""What a command is to write, judged before it loads or computes anything."""

from pathlib import Path

from zoo.errors import ZooError, did_you_mean

__all__ = ["ENDINGS", "check_target"]

ENDINGS = {"onnx": ".onnx", "torch-export": ".pt2"}


def check_target(out: str | Path, format: str) -> Path:
    """The file to write. Raises ZooError if there is no such format, or no such file can be written."""
    if format not in ENDINGS:
        raise ZooError(f"format={format} is not one of {', '.join(ENDINGS)}{did_you_mean(format, ENDINGS)}")
    file = Path(out)
    if file.is_dir():
        raise ZooError(
            f"out={out} is a folder; name the file to write, such as {file / 'model'}{ENDINGS[format]}"
        )
    if file.suffix != ENDINGS[format]:
        raise ZooError(f"out={out} must end in {ENDINGS[format]}, as format={format} is called")
    if not file.parent.is_dir():
        raise ZooError(f"out={out} cannot be written: there is no folder {file.parent}; make it first")
    return file
