"""Compiles the kernels of sources.py to PTX; `pip install triton`, then `python tests/emulator/triton/make.py`.

No GPU is needed. The first line of a file says its threads, its bytes of dynamic shared memory and Triton's version.
"""

import re
from pathlib import Path

import sources
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

TILES = {"BM": 32, "BN": 32, "BK": 32}
KERNELS = {
    # file → kernel, types of the arguments, constants, warps, architecture
    "scaled_sum": ("scaled_sum", "*bf16 *bf16 *fp32 fp32 i32", {"BLOCK": 256}, 2, 80),
    "softmax": ("softmax", "*fp32 *fp32 i32", {"BLOCK": 256}, 4, 80),
    "layer_norm": ("layer_norm", "*fp32 *fp32 *fp32 *fp32 i32 fp32", {"BLOCK": 128}, 4, 90),
    "scale_gradient": ("scale_gradient", "*fp32 *fp32 *fp32 i32 i32", {"BLOCK": 64, "ROWS": 4}, 1, 80),
    "product_fp16": ("product", "*fp16 *fp16 *fp32 i32 i32 i32", {**TILES, "RELU": False}, 4, 80),
    "product_bf16": ("product", "*bf16 *bf16 *bf16 i32 i32 i32", {**TILES, "RELU": True}, 4, 120),
    "product_tf32": ("product", "*fp32 *fp32 *fp32 i32 i32 i32", {**TILES, "RELU": False}, 2, 80),
    "product_turing": ("product", "*fp16 *fp16 *fp32 i32 i32 i32", {**TILES, "RELU": False}, 2, 75),
    "integer_product": ("integer_product", "*i8 *i8 *i32 i32 i32", TILES, 2, 80),
    "attention": ("attention", "*fp16 *fp16 *fp16 *fp32 i32 fp32", {"BM": 32, "BN": 32, "D": 32}, 2, 80),
    "largest_place": ("largest_place", "*fp32 *i32 i32", {"BLOCK": 128}, 4, 80),
    "histogram": ("histogram", "*i32 *i32 i32", {"BLOCK": 256, "BINS": 32}, 4, 80),
    "running_sum": ("running_sum", "*i32 *i32 i32", {"BLOCK": 256}, 4, 80),
    "transpose": ("transpose", "*fp32 *fp32 i32 i32", {"BM": 32, "BN": 32}, 4, 80),
    "dropout": ("dropout", "*fp32 *fp32 i32 fp32 i32", {"BLOCK": 256}, 2, 80),
    "sort": ("sort", "*i32 *i32", {"BLOCK": 64}, 2, 80),
    "embedding": ("embedding", "*fp16 *i64 *fp16", {"D": 64}, 1, 80),
    "cross_entropy": ("cross_entropy", "*bf16 *i32 *fp32 i32", {"BLOCK": 128}, 4, 80),
    "rows_times_vector": ("rows_times_vector", "*fp32 *fp32 *fp32 i32", {"ROWS": 4, "BLOCK": 64}, 2, 80),
    "last_one_adds": ("last_one_adds", "*fp32 *fp32 *i32 *fp32 i32", {"BLOCK": 128, "BLOCKS": 8}, 4, 80),
    "blur": ("blur", "*fp32 *fp32 i32 i32", {"BLOCK": 64}, 2, 80),
    "quantize": ("quantize", "*fp32 *i8 *fp32 i32", {"BLOCK": 128}, 2, 80),
    "moments": ("moments", "*fp32 *fp32 i32", {"BLOCK": 128}, 2, 80),
    "rotate": ("rotate", "*bf16 *bf16", {"D": 32}, 1, 90),
}


def compiled(kernel: str, types: str, constants: dict[str, object], warps: int, architecture: int) -> str:
    """PTX without debug information, whose lines are of files that are not here."""
    function = getattr(sources, kernel)
    signature = dict(zip(function.arg_names, [*types.split(), *["constexpr"] * len(constants)], strict=True))
    aligned = {(i,): [["tt.divisibility", 16]] for i, kind in enumerate(types.split()) if kind.startswith("*")}
    source = ASTSource(fn=function, signature=signature, constexprs=constants, attrs=aligned)
    made = triton.compile(
        source, target=GPUTarget("cuda", architecture, 32), options={"num_warps": warps, "enable_fp_fusion": False}
    )
    text = made.asm["ptx"].split("\t.section\t.debug")[0]
    lines = [re.sub(r"\s*//.*", "", line) for line in text.splitlines()]
    kept = [line for line in lines if line.strip() and not re.match(r"\s*(\.loc\b|\.file\b|\$L__(tmp|func_))", line)]
    head = f"// threads {32 * warps}, shared {made.metadata.shared}, Triton {triton.__version__}: sources.py, {kernel}"
    return "\n".join([head, *kept]) + "\n"


if __name__ == "__main__":
    for name, given in KERNELS.items():
        Path(__file__).with_name(f"{name}.ptx").write_text(compiled(*given), encoding="utf-8")
