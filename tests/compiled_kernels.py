"""Compiles every Triton kernel for a GPU that need not be here; `python compiled_kernels.py 90` prints their sizes."""

import sys
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from search.trials import step_kernels
from zoo.fast import gradient_kernels, kernels, sample_kernels

NUMBERS = (
    "rows",
    "pools",
    "frames",
    "first",
    "channels",
    "columns",
    "length",
    "left",
    "programs",
    "size",
    "n",
    "samples",
    "width",
    "count",
    "numbers",
)
PLAIN = ("epsilon", "momentum")
OF_THEIR_KIND = (
    "y",
    "z",
    "largest",
    "result",
    "gradient",
    "logits",
    "slopes",
)  # float32 or bfloat16; all other tensors are float32
OTHERS = {"batches": "*i64", "together": "*fp64", "summed": "*fp64", "lane_of": "*u8"}
SAMPLES: dict[str, list[dict[str, int]]] = {
    "moments": [{"LENGTH": 3, "ROWS": 1024}],
    "finish_moments": [{"LENGTH": 3, "COLUMNS": 16}],
    "finish_sample_gradients": [{"LENGTH": 3, "COLUMNS": 16}],
    "filter_samples": [{"LENGTH": 3, "ROWS": 64, "COLUMNS": 128}],
    "sample_gradients": [
        {"STEPS": 8, "LENGTH": length, "SUMS": sums, "ROWS": rows, "COLUMNS": 128}
        for length, sums, rows in ((2, 4, 8), (3, 4, 8), (5, 8, 4), (8, 16, 2))
    ],
}
# Of one network, of several, and of several whose clips have gaps between them.
LANES = ({"SEVERAL": 0, "GAPS": 0}, {"SEVERAL": 1, "GAPS": 0}, {"SEVERAL": 1, "GAPS": 1})
POOLS: dict[str, list[dict[str, int]]] = {
    "pool": [
        {"SEVERAL": several, "STEPS": 8, "M": m, "ROWS": 16, "COLUMNS": 128}
        for several in (0, 1)
        for m in (1, 2, 3, 5)
    ],
    "lay": [{"ROWS": 16, "COLUMNS": 128}],
    "finish_statistics": [{"M": 3, "TURNS": 4, "PARTS": 256, "COLUMNS": 16}],
    "activate": [
        lanes | {"SIGNED": signed, "ROWS": 16, "COLUMNS": 128} for lanes in LANES for signed in (0, 1)
    ],
}
GRADIENTS: dict[str, list[dict[str, int]]] = {
    "sums": [
        lanes | {"STEPS": 8, "SIGNED": signed, "ROWS": 16, "COLUMNS": 128}
        for lanes in LANES
        for signed in (0, 1)
    ],
    "finish_slopes": [{"TURNS": 4, "PARTS": 256, "COLUMNS": 16}],
    "turn": [{"LENGTH": 3, "SIZE": 64}],
    "spread": [lanes | {"M": m, "ROWS": 8, "COLUMNS": 128} for lanes in LANES for m in (1, 2, 3, 5)],
}
STEPS: dict[str, list[dict[str, int]]] = {
    "entropies": [{"TURNS": 2, "NUMBERS": 1024}],
    "nesterov": [{"NUMBERS": 1024}],
}
ALL = ((kernels, POOLS), (gradient_kernels, GRADIENTS), (sample_kernels, SAMPLES), (step_kernels, STEPS))


def type_of(name: str, kernel: str, kind: str) -> str:
    """Of a kernel's argument, as Triton writes it."""
    if name in NUMBERS:
        return "i32"
    if name in PLAIN:
        return "fp32"
    if name in OF_THEIR_KIND or (name, kernel) == ("filters", "turn"):
        return kind
    return "*fp64" if (name, kernel) == ("parts", "moments") else OTHERS.get(name, "*fp32")


def compiled(kernel: Any, constants: dict[str, int], kind: str, capability: int) -> int:
    """Bytes of the program for that GPU."""
    names = kernel.arg_names
    types = {
        name: "constexpr" if name in constants else type_of(name, kernel.__name__, kind) for name in names
    }
    values = {(names.index(name),): value for name, value in constants.items()}
    source = ASTSource(fn=kernel, signature=types, constexprs=values)
    return len(triton.compile(source, target=GPUTarget("cuda", capability, 32)).asm["cubin"])


def main(capability: int) -> None:
    for module, wanted in ALL:
        for name, forms in wanted.items():
            for constants in forms:
                for kind in ("*fp32", "*bf16"):
                    print(name, compiled(getattr(module, name), constants, kind, capability))


if __name__ == "__main__":
    main(int(sys.argv[1]))
