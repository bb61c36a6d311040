"""PyTorch on the same GPU; how its calls and ours are timed: in turn, in CUDA graphs, over more data than the L2."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cache, partial
from statistics import median
from time import perf_counter
from typing import Any

Call = Callable[[], object]
Peer = tuple[str, Callable[[], Call]]
"""A name, and what makes the call that is timed under it: compiles, captures."""


def interleaved(
    calls: Mapping[str, Call], synchronize: Call, rounds: int = 7, least: float = 5e-3, before: int = 3
) -> tuple[dict[str, float], dict[str, str]]:
    """Median milliseconds of each call, and the GPU's clocks half-way.

    In each round every call has a batch that takes at least `least` seconds, so that starting it does not count, and
    every other round goes backwards: what the GPU's temperature does meets all alike. `before` calls of each come
    first, which compile, capture and warm up.
    """
    counts = {name: _count(call, synchronize, least, before) for name, call in calls.items()}
    times: dict[str, list[float]] = {name: [] for name in calls}
    clocks: dict[str, str] = {}
    for turn in range(rounds):
        for name in list(calls)[:: -1 if turn % 2 else 1]:
            times[name].append(1e3 * _batch(calls[name], counts[name], synchronize) / counts[name])
        if turn == rounds // 2:
            clocks = read_clocks()
    return {name: median(found) for name, found in times.items()}, clocks


def _batch(call: Call, count: int, synchronize: Call) -> float:
    began = perf_counter()
    for _ in range(count):
        call()
    synchronize()
    return perf_counter() - began


def _count(call: Call, synchronize: Call, least: float, before: int) -> int:
    """Calls in a batch."""
    for _ in range(before):
        call()
    synchronize()
    count = 1
    while least and _batch(call, count, synchronize) < least and count < 1 << 14:
        count *= 2
    return count


def read_clocks() -> dict[str, str]:
    """What nvidia-smi says of the GPU now; nothing where there is none."""
    asked = {"clocks.sm": "SM MHz", "clocks.mem": "memory MHz", "power.draw": "W", "temperature.gpu": "°C"}
    command = ["nvidia-smi", f"--query-gpu={','.join(asked)}", "--format=csv,noheader,nounits", "--id=0"]
    with suppress(OSError, subprocess.SubprocessError):
        said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout
        return dict(zip(asked.values(), (part.strip() for part in said.split(",")), strict=False))
    return {}


def made(peers: Iterable[Peer], synchronize: Call) -> tuple[dict[str, Call], dict[str, str]]:
    """The calls of peers, each called once, and what those said that cannot be: a peer that fails costs its cell."""
    calls: dict[str, Call] = {}
    failed: dict[str, str] = {}
    for name, make in peers:
        try:
            call = make()
            call()
            synchronize()
        except Exception as error:
            failed[name] = said(error, 120)
        else:
            calls[name] = call
    return calls, failed


def said(error: Exception, most: int) -> str:
    """An error in one line of at most so many characters."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:most]


def rotating(make: Callable[[], Call], copies: int) -> Call:
    """One call that does the same on `copies` sets of arrays in turn, so that no cache holds them all.

    Its results live until all are there, so that a captured graph writes each where no other was.
    """
    calls = [make() for _ in range(copies)]
    return lambda: [call() for call in calls]


class Torch:
    """PyTorch eager and compiled, both in CUDA graphs; TF32 as told, the same for both sides.

    Args:
        tf32: whether products may have TF32 operands.
        device: where its tensors lie.

    Raises:
        ImportError: it is not here, or sees no GPU.
    """

    def __init__(self, tf32: bool = False, device: str = "cuda") -> None:
        import torch

        if not torch.cuda.is_available():
            raise ImportError("torch sees no GPU")
        self.torch = torch
        torch.backends.cuda.matmul.allow_tf32 = tf32
        torch.backends.cudnn.allow_tf32 = tf32
        torch.backends.cudnn.benchmark = True
        self.device = torch.device(device)
        self.stream = torch.cuda.Stream()

    def graphed(self, call: Call) -> Call:
        """The replay of a call that was captured once.

        What autograd does runs in the stream of the forward pass, so `call` must have been made within `self.stream`.
        """
        torch = self.torch
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            for _ in range(3):
                call()
        torch.cuda.current_stream().wait_stream(self.stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self.stream):
            call()
        return graph.replay

    def _rotating_graph(self, make: Callable[[], Call], copies: int) -> Call:
        """What `rotating` does, captured; its calls are made in the stream of the capture."""
        with self.torch.cuda.stream(self.stream):
            calls = rotating(make, copies)
        return self.graphed(calls)

    def _compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function compiled for the shapes of one case; its graph may be run backwards again and again."""
        import torch._dynamo
        import torch._functorch.config

        torch._functorch.config.donated_buffer = False
        torch._dynamo.reset()
        return self.torch.compile(function, dynamic=False)

    def _images(self, shape: tuple[int, ...], channels_last: bool) -> Any:
        n, h, w, c = shape
        x = self.torch.randn(n, c, h, w, device=self.device)
        return x.contiguous(memory_format=self.torch.channels_last) if channels_last else x

    def group_norms(self, shape: tuple[int, ...], groups: int, backward: bool, copies: int) -> Iterator[Peer]:
        """GN+ReLU in both memory formats, eager and compiled, as graphs over `copies` sets."""
        torch = self.torch

        def forward(x: Any, scale: Any, offset: Any) -> Any:
            return torch.relu(torch.nn.functional.group_norm(x, groups, scale, offset, 1e-5))

        for mode in ("eager", "compiled"):
            for channels_last in (False, True):

                def make(function: Any, channels_last: bool = channels_last) -> Call:
                    x = self._images(shape, channels_last).requires_grad_(backward)
                    scale, offset = (torch.randn(shape[3], device=self.device).requires_grad_(backward) for _ in "ab")
                    if not backward:
                        return partial(function, x, scale, offset)
                    y = function(x, scale, offset)
                    dy = torch.randn_like(y)
                    return lambda: torch.autograd.grad(y, (x, scale, offset), dy, retain_graph=True)

                def graph(compiled: bool = mode == "compiled", make: Callable[[Any], Call] = make) -> Call:
                    function = self._compiled(forward) if compiled else forward
                    return self._rotating_graph(partial(make, function), copies)

                yield f"{mode}, {'channels-last' if channels_last else 'NCHW'}", graph

    def convolutions(
        self, shape: tuple[int, ...], filters: int, window: int, stride: int, direction: str, copies: int
    ) -> Iterator[Peer]:
        """Convolution, cuDNN's, in both memory formats, as graphs over `copies` sets."""
        torch = self.torch
        wanted = {"forward": None, "input gradient": (True, False, False), "weight gradient": (False, True, False)}
        chosen, padding = wanted[direction], window // 2
        fixed = (None, [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], 1, chosen)
        for channels_last in (False, True):
            kind = torch.channels_last if channels_last else torch.contiguous_format

            def make(channels_last: bool = channels_last, kind: Any = kind) -> Call:
                x = self._images(shape, channels_last)
                w = torch.randn(filters, shape[3], window, window, device=self.device).contiguous(memory_format=kind)
                forward = partial(torch.nn.functional.conv2d, x, w, None, stride, padding)
                if chosen is None:
                    return forward
                return partial(torch.ops.aten.convolution_backward, torch.randn_like(forward()), x, w, *fixed)

            yield "channels-last" if channels_last else "NCHW", partial(self._rotating_graph, make, copies)

    def train_steps(self, batch: int) -> Iterator[Peer]:
        """A whole SGD step of the demo network (28×28×1, 8-16-32): eager, and as a CUDA graph."""
        for channels_last in (False, True):
            name = "channels-last" if channels_last else "NCHW"
            step = cache(partial(self._step, batch, channels_last))  # one model for both
            # The warm-up before a capture makes the gradients where the eager step finds them.
            yield f"CUDA graph, {name}", lambda step=step: self.graphed(step())
            yield f"eager, {name}", step

    def _step(self, batch: int, channels_last: bool) -> Call:
        """One step of the demo network on one batch."""
        torch, nn = self.torch, self.torch.nn
        kind = torch.channels_last if channels_last else torch.contiguous_format
        blocks: list[Any] = []
        for before, filters, pooled in ((1, 8, True), (8, 16, True), (16, 32, False)):
            blocks += [nn.Conv2d(before, filters, 3, padding=1), nn.GroupNorm(4, filters), nn.ReLU()]
            blocks += [nn.MaxPool2d(2, 2)] if pooled else []
        model = nn.Sequential(*blocks, nn.Flatten(), nn.Linear(32 * 49, 10)).to(self.device, memory_format=kind)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
        x = self._images((batch, 28, 28, 1), channels_last)
        t = torch.randint(10, (batch,), device=self.device)

        def step() -> Any:
            optimizer.zero_grad(set_to_none=False)
            loss = nn.functional.cross_entropy(model(x), t)
            loss.backward()
            optimizer.step()
            return loss

        return step
