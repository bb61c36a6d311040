"""PyTorch on the same GPU: the calls that bench/gpu.py times beside ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

Call = Callable[[], object]


def milliseconds(call: Call, synchronize: Call, floor: float = 0.02) -> float:
    """Median time of one call in milliseconds: batches of calls long enough that starting them does not count."""
    from statistics import median
    from time import perf_counter

    for _ in range(3):
        call()
    synchronize()

    def batch(count: int) -> float:
        began = perf_counter()
        for _ in range(count):
            call()
        synchronize()
        return perf_counter() - began

    count = 1
    while batch(count) < floor and count < 1 << 14:
        count *= 2
    return 1e3 * median(batch(count) for _ in range(5)) / count


def rotating(make: Callable[[], Call], copies: int) -> Call:
    """One call that does the same on `copies` sets of arrays in turn, so that no cache holds them all."""
    calls = [make() for _ in range(copies)]

    def run() -> None:
        for call in calls:
            call()

    return run


class Torch:
    """PyTorch eager, compiled and graphed; TF32 as told, the same for both sides."""

    def __init__(self, tf32: bool = False) -> None:
        import torch

        self.torch = torch
        torch.backends.cuda.matmul.allow_tf32 = tf32
        torch.backends.cudnn.allow_tf32 = tf32
        torch.backends.cudnn.benchmark = True
        self.device = torch.device("cuda")

    def synchronize(self) -> None:
        """Waits for the GPU."""
        self.torch.cuda.synchronize()

    def copy(self, nbytes: int) -> Call:
        """A device copy that reads and writes `nbytes` each."""
        source = self.torch.empty(nbytes // 4, dtype=self.torch.float32, device=self.device).normal_()
        target = self.torch.empty_like(source)
        return lambda: target.copy_(source)

    def _images(self, shape: tuple[int, ...], channels_last: bool) -> Any:
        n, h, w, c = shape
        x = self.torch.randn(n, c, h, w, device=self.device)
        return x.contiguous(memory_format=self.torch.channels_last) if channels_last else x

    def group_norms(
        self, shape: tuple[int, ...], groups: int, backward: bool, copies: int
    ) -> Iterator[tuple[str, Call]]:
        """(name, call) for GN+ReLU in both memory formats, eager and compiled."""
        torch = self.torch

        def forward(x: Any, scale: Any, offset: Any) -> Any:
            return torch.relu(torch.nn.functional.group_norm(x, groups, scale, offset, 1e-5))

        for mode in ("eager", "compiled"):
            function = forward if mode == "eager" else torch.compile(forward)
            for channels_last in (False, True):

                def make(function: Any = function, channels_last: bool = channels_last) -> Call:
                    x = self._images(shape, channels_last).requires_grad_(backward)
                    scale, offset = (torch.randn(shape[3], device=self.device).requires_grad_(backward) for _ in "ab")
                    if not backward:
                        return lambda: function(x, scale, offset)
                    y = function(x, scale, offset)
                    dy = torch.randn_like(y)
                    return lambda: torch.autograd.grad(y, (x, scale, offset), dy, retain_graph=True)

                yield f"{mode}, {'channels-last' if channels_last else 'NCHW'}", rotating(make, copies)

    def convolutions(
        self, shape: tuple[int, ...], filters: int, window: int, stride: int, direction: str
    ) -> Iterator[tuple[str, Call]]:
        """(name, call) for cuDNN's convolution in both memory formats."""
        torch = self.torch
        wanted = {"forward": None, "input gradient": (True, False, False), "weight gradient": (False, True, False)}[
            direction
        ]
        for channels_last in (False, True):
            x = self._images(shape, channels_last)
            kind = torch.channels_last if channels_last else torch.contiguous_format
            weights = torch.randn(filters, shape[3], window, window, device=self.device).contiguous(memory_format=kind)
            name = "channels-last" if channels_last else "NCHW"
            if wanted is None:
                yield name, lambda x=x, w=weights: torch.nn.functional.conv2d(x, w, None, stride, window // 2)
                continue
            dy = torch.randn_like(torch.nn.functional.conv2d(x, weights, None, stride, window // 2))
            fixed = (None, [stride] * 2, [window // 2] * 2, [1, 1], False, [0, 0], 1, wanted)
            yield name, lambda x=x, w=weights, dy=dy, fixed=fixed: torch.ops.aten.convolution_backward(dy, x, w, *fixed)

    def train_steps(self, batch: int) -> Iterator[tuple[str, Call]]:
        """(name, call) for a whole SGD step of the demo network (28×28×1, 8-16-32): eager, and as a CUDA graph."""
        torch = self.torch
        nn = torch.nn
        for channels_last in (False, True):
            kind = torch.channels_last if channels_last else torch.contiguous_format
            blocks: list[Any] = []
            for before, filters, pooled in ((1, 8, True), (8, 16, True), (16, 32, False)):
                blocks += [nn.Conv2d(before, filters, 3, padding=1), nn.GroupNorm(4, filters), nn.ReLU()]
                blocks += [nn.MaxPool2d(2, 2)] if pooled else []
            model = nn.Sequential(*blocks, nn.Flatten(), nn.Linear(32 * 49, 10)).to(self.device, memory_format=kind)
            optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
            x = self._images((batch, 28, 28, 1), channels_last)
            t = torch.randint(10, (batch,), device=self.device)

            def step(model: Any = model, optimizer: Any = optimizer, x: Any = x, t: Any = t) -> Any:
                optimizer.zero_grad(set_to_none=False)
                loss = torch.nn.functional.cross_entropy(model(x), t)
                loss.backward()
                optimizer.step()
                return loss

            name = "channels-last" if channels_last else "NCHW"
            yield f"eager, {name}", step
            yield f"CUDA graph, {name}", self._graphed(step)

    def _graphed(self, step: Call) -> Call:
        torch = self.torch
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(5):
                step()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step()
        return graph.replay
