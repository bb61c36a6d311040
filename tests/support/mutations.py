"""Attacks on what reads text and bytes: mutated input may give a result or an error of the family, in bounded time.

`python -m support.mutations ir 10000` in tests/ counts what a long loop finds.
"""

from __future__ import annotations

import random
import resource
import signal
import sys
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from time import perf_counter

from gncodegen.errors import GncodegenError

HANG = 10
"""Seconds of this process, after which a case counts as one that hangs."""

MEMORY = 4 << 30
"""Bytes that a case may take beyond what the process has."""

OURS = "fault of gncodegen"
"""What the text of an error says that nobody foresaw."""

Attack = Callable[[random.Random], None]


class Hang(BaseException):
    """A case took longer than HANG."""


@contextmanager
def bounded() -> Generator[None]:
    """Within it time and memory are bounded; main thread only."""

    def late(*_: object) -> None:
        raise Hang

    before, (soft, hard) = signal.signal(signal.SIGPROF, late), resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, hard))
    signal.setitimer(signal.ITIMER_PROF, HANG)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def run(attack: Attack, count: int, seed: int = 0) -> tuple[Counter[str], dict[str, int]]:
    """Runs cases, each from a seed of its own.

    Args:
        attack: one case; raises what the attacked code raises.
        count: how many.
        seed: of the first.

    Returns:
        How many ended "accepted", "refused" or otherwise, and each finding with the seed that shows it.
    """
    ends, findings = Counter[str](), dict[str, int]()
    for number in range(seed, seed + count):
        try:
            with bounded():
                attack(random.Random(number))
            end = "accepted"
        except GncodegenError as error:
            end = "refused" if OURS not in str(error) else f"not foreseen: {_head(error)}"
        except (Exception, Hang) as error:
            end = f"bare: {_head(error)}"
        ends[end.partition(":")[0]] += 1
        if ":" in end:
            findings.setdefault(end, number)
    return ends, findings


def _head(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error)[:160]}"


def mutated(draw: random.Random, text: str, words: Sequence[str]) -> str:
    """A text with one to four changes: pieces cut, doubled, moved, exchanged or replaced by odd words."""
    for _ in range(draw.choice((1, 1, 2, 4))):
        a = draw.randrange(len(text) + 1)
        b = min(len(text), a + draw.choice((0, 1, 1, 2, 8, 40)))
        c = draw.randrange(len(text) + 1)
        match draw.randrange(6):
            case 0:
                text = text[:a] + text[b:]
            case 1:
                text = text[:b] + text[a:]
            case 2:
                text = text[:a] + draw.choice(words) + text[b:]
            case 3:
                text = text[:c] + text[a:b] + text[c:]
            case 4:
                text = text[:a]
            case _:
                old = draw.choice(words)
                text = text.replace(old, draw.choice(words), draw.choice((1, -1)))
    return text


def mutated_bytes(draw: random.Random, content: bytes) -> bytes:
    """Bytes with one to four changes: bits flipped, runs cut, doubled, zeroed, or made lengths that lie."""
    content = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 4))):
        a = draw.randrange(len(content) + 1)
        b = min(len(content), a + draw.choice((1, 1, 2, 8, 64)))
        match draw.randrange(6):
            case 0 if a < len(content):
                content[a] ^= 1 << draw.randrange(8)
            case 1:
                del content[a:b]
            case 2:
                content[a:a] = content[a:b]
            case 3:
                content[a:b] = bytes(b - a)
            case 4:
                content[a:b] = draw.randbytes(b - a)
            case _:
                content[a:b] = b"\xff" * min(9, b - a) + b"\x7f"
    return bytes(content)


WORDS = (
    *(
        "0",
        "1",
        "-1",
        "2",
        "3",
        "7",
        "4294967296",
        "9223372036854775807",
        "99999999999999999999",
        "1e308",
        "0x7FC00000",
    ),
    *(
        '"',
        '"relu"',
        '"\\00"',
        "{",
        "}",
        "[",
        "]",
        "(",
        ")",
        "<",
        ">",
        "x",
        "?",
        "true",
        "f32",
        "f64",
        "f16",
        "i8",
        "->",
    ),
    *("tensor<", "memref<", "tensor<0x0xf32>", "%x", "%0", "%1", "%9", "gn.add", "gn.group_norm", "gn.convolution"),
    *("gn.reshape", "gn.activation", "kern.launch", "builtin.module", "func.func", "func.return", "groups", "padding"),
    *(
        "stride",
        "layers",
        "epsilon",
        "gn.kind",
        "gn.name",
        '"input"',
        '"parameter"',
        '"loss"',
        " ",
        "\n",
        "//",
        "é",
        "\0",
    ),
    *(",", ":", "="),
)
"""Pieces of IR text, and numbers that it should not have."""

PASSES = (
    *("", "shapes", "shapes{batch_size=3}", "canonicalize", "gradients", "gradients,dce", "gradients,dce,fuse,cse"),
    "shapes,canonicalize,gradients,dce,fuse,cse,layout,partial-statistics,prologue,select,hoist,memory",
    "gradients,dce,fuse,cse,reduce{bucket_size=100},select,memory",
    *("memory", "hoist", 'layout{data_format="BCSS"}', "gradients{clip=l2norm solver=adam},dce,fuse,select"),
    "select,memory",
)


@cache
def _texts() -> tuple[tuple[str, ...], tuple[float, ...]]:
    """Texts, and how often each is drawn: a case of a long one takes longer, and has the same few changes."""
    from gncodegen.passes.lower import lower
    from support.networks import NETWORKS

    lowered = [lower(make(), "train_step", batch_size=2)[0] for make in NETWORKS.values()]
    texts = tuple(stages[stage] for stages in lowered for stage in ("gn", "fuse", "memory"))
    return texts, tuple(len(text) ** -2.0 for text in texts)


def ir_text(draw: random.Random) -> None:
    """IR text, mutated, through passes, whose list is mutated at times."""
    from gncodegen.passes.pipeline import run_pipeline

    spec = draw.choice(PASSES)
    if draw.random() < 0.2:
        spec = mutated(draw, spec, ("{", "}", "=", ",", "1", "-1", '"', "true", "a", "[", "]", "vector_bytes=", "l2=0"))
    run_pipeline(mutated(draw, draw.choices(*_texts())[0], WORDS), spec)


@cache
def _model() -> bytes:
    from support.onnx_models import small_model

    return small_model().SerializeToString()


def onnx_bytes(draw: random.Random) -> None:
    """The bytes of an ONNX model, mutated."""
    import gncodegen as gnc

    gnc.Network.build(gnc.from_onnx(mutated_bytes(draw, _model())), require_output=False)


ATTACKS: dict[str, Attack] = {"ir": ir_text, "onnx": onnx_bytes}


def main(name: str, count: int, seed: int = 0) -> dict[str, int]:
    """Runs an attack and prints how its cases ended and what was found."""
    start = perf_counter()
    ends, findings = run(ATTACKS[name], count, seed)
    print(f"{name}: {count:,} cases from seed {seed} in {perf_counter() - start:.0f} s: {dict(ends)}")
    for finding, number in findings.items():
        print(f"  seed {number}: {finding}")
    return findings


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
