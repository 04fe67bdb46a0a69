"""The zoo on the command line.

    python -m zoo                                 list every network, with its size and what was published of it
    python -m zoo list "samplecnn_m3*"            those whose names match a pattern
    python -m zoo list m=3 depth=8..11 input_ms=2000..3000
                                                  those that are like that
    python -m zoo info samplecnn_m3_n9_s3         all that is known of one
    python -m zoo tag song.mp3 model=models:/demo-table2@champion top=10
                                                  the likeliest tags of audio files
    python -m zoo tag /my/music model=models:/demo-table2@champion timeline=true format=csv
                                                  of every file in a folder, segment by segment
    python -m zoo export model=models:/demo-table2@champion format=onnx out=tagger.onnx
                                                  a file that needs no wavezoo: waveforms in, probabilities out
    python -m zoo import network=samplecnn_m3_n9_s3 weights=theirs.pth tags=tags.txt out=adopted
                                                  a checkpoint with the weights of another program

Words for `tag`: any number of files and folders; model=, models:/<name>@<alias>, models:/<name>/<version>,
runs:/<run>/checkpoint, a folder of a checkpoint or of a trial, or a trial's signature; top=, how many tags to show
(10), the likeliest of the whole file; timeline=true, their probability in each segment, with where it starts; format=,
table (the default), csv or json; device= (cpu). A file may be of any length and rate: it is read in blocks. One that is
broken is named, and costs no other file anything.
Words for `export`: model=, as above; out=, the file; format=, onnx (the default; the file ends in .onnx) or
torch-export (.pt2). The file is run before it gets its name, and its logits are compared with the network's.
Words for `import`: network=, a name of the zoo; weights=, .safetensors, .pt, .pth, .bin or .ckpt with a state dict, or
Keras's model.get_weights() as numpy.savez writes it (.npz); tags=, a text file of one tag a line, or a JSON list, in
the order of the last layer; out=, the folder of the checkpoint; layout=, auto (the default), torch, keras or theano
(Keras on Theano, whose kernels run backwards); epsilon=, of its batch norms, if not ours (Keras 2: 0.001);
option=value, as `info` lists them. No code in the file is run.
Words for `list`: table=, a table of the paper such as table2; family=, as `info` tells it; m=, filter length of the
paper's rule; depth=, layers with weights; parameters=, for 50 tags; input_ms=, length of a segment. The last three take
a number or LOW..HIGH, either end left out. `list` and `info` take n_tags=, the tags that costs are counted for (50).
Exit codes: 0 done, 1 some files could not be tagged, 2 the words or what they lead to were wrong, 130 interrupted.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from datasets.errors import DatasetError, reason
from zoo.commands import (
    EXPORT_WORDS,
    IMPORT_WORDS,
    LIST_WORDS,
    export_command,
    import_command,
    info_command,
    list_command,
)
from zoo.errors import ZooError, did_you_mean
from zoo.tag_command import TAG_WORDS, tag_command

Settings = dict[str, str]


def main(words: Sequence[str]) -> int:
    """Run one command. Returns the exit code; errors are one line on standard error."""
    if {"--help", "-h", "help"} & set(words):
        print(__doc__, end="")
        return 0
    command, rest = (words[0], words[1:]) if words else ("list", ())
    if command not in COMMANDS:
        return _wrong(
            f"no command is called {command!r}{did_you_mean(command, COMMANDS)} ({', '.join(COMMANDS)})"
        )
    run, known = COMMANDS[command]
    try:
        return run(*_split(rest, known))
    except (
        ZooError,
        DatasetError,
        OSError,
    ) as error:  # such as a disk that is full, or a folder that must not be written
        return _wrong(reason(error))


INTERRUPTED = 130
ANY = "option"  # among the words of a command: it takes the options of a network, whatever they are called
COMMANDS: Mapping[str, tuple[Callable[[Sequence[str], Mapping[str, str]], int], tuple[str, ...]]] = {
    "list": (list_command, LIST_WORDS),
    "info": (info_command, ("n_tags",)),
    "tag": (tag_command, TAG_WORDS),
    "export": (export_command, EXPORT_WORDS),
    "import": (import_command, (*IMPORT_WORDS, ANY)),
}


def _split(words: Sequence[str], known: Sequence[str]) -> tuple[list[str], Settings]:
    """Tell `key=value` words from the others. A file whose name holds "=" is a file if it is there."""
    plain: list[str] = []
    settings: Settings = {}
    for word in words:
        key, sign, value = word.partition("=")
        if sign and (key in known or (ANY in known and key.isidentifier())):
            if key in settings:
                raise ZooError(f"{key}= is given twice, as {settings[key]!r} and {value!r}; give it once")
            settings[key] = value
        elif word.startswith("--") or (sign and not Path(word).exists()):
            near = did_you_mean(key.lstrip("-"), known) or f"; known: {', '.join(f'{k}=' for k in known)}"
            raise ZooError(f"{word!r} is not understood{near}")
        else:
            plain.append(word)
    return plain, settings


def _wrong(message: str) -> int:
    print(message, file=sys.stderr)
    return 2


if __name__ == "__main__":
    try:
        code = main(sys.argv[1:])
        sys.stdout.flush()
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # one more ends it at once, without a trace of its end
        print("interrupted", file=sys.stderr)
        code = INTERRUPTED
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    if code == INTERRUPTED:
        # An ordinary end takes the threads of libraries down; where those were just begun, one in forty aborted
        with suppress(OSError):
            sys.stdout.flush()
        os._exit(code)
    sys.exit(code)
