"""A compiled network as a torch module: forward and backward are its kernels, its arrays are torch's parameters."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from gncodegen.errors import ArrayError, NetworkError
from gncodegen.exchange.torch.framework import framework
from gncodegen.layers.dense import DropoutLayer
from gncodegen.layers.normalization import BatchNormalizationLayer
from gncodegen.runtime.state import HostValues

if TYPE_CHECKING:
    from gncodegen.compiled import Compiled

torch = framework("as_torch_module")


class CompiledModule(torch.nn.Module):
    """The module of a compiled network; `Compiled.as_torch_module` makes one.

    Its parameters and buffers are the network's own memory, under names such as "conv_1/weights" (torch allows no dot):
    a step of an optimizer, `load_state_dict` and an assignment to `compiled.parameters` are seen on both sides. What
    another call puts in their place, such as `parameter.data = …`, is copied in before the next run. Copies of the
    module have a network of their own.
    In training mode dropout drops and batch norms take the batch's statistics, as in torch. On a GPU kernels run in
    torch's current stream, forward and backward.

    Args:
        compiled: for target "cpu" or "cuda".
    """

    def __init__(self, compiled: Compiled) -> None:
        super().__init__()
        values = compiled.parameters.stored
        self.compiled, self._versions, self._device = compiled, dict[str, int](), _device(compiled)
        layers = [node.layer for node in compiled.network.inputs]
        self._whole = {number for number, layer in enumerate(layers) if getattr(layer, "whole", False)}
        self._by_mode = any(
            isinstance(node.layer, (DropoutLayer, BatchNormalizationLayer)) for node in compiled.network.nodes
        )
        for name, parameter in compiled.network.parameters.items():
            tensor = torch.from_dlpack(values.place(name))
            if parameter.learnable:
                learned = parameter.learn_rate_factor > 0
                self.register_parameter(_name(name), torch.nn.Parameter(tensor, requires_grad=learned))
            else:
                self.register_buffer(_name(name), tensor)
        self._noted()

    def forward(self, *inputs: Any) -> Any:
        """The network's outputs: N observations of every input, in the source's order of axes."""
        wanted = getattr(torch, self.compiled.options.array_dtype)
        inputs = tuple(x.to(wanted) if number in self._whole and _is_whole(x) else x for number, x in enumerate(inputs))
        for number, x in enumerate(inputs, 1):
            if not isinstance(x, torch.Tensor) or x.dtype != wanted or x.device != self._device:
                given = f"{x.dtype} on {x.device}" if isinstance(x, torch.Tensor) else type(x).__name__
                place = "the CPU" if self._device.type == "cpu" else self._device
                raise ArrayError(
                    f"input {number} is {given}; allowed: {wanted} tensors on {place}; convert it, or compile with "
                    "another dtype or target"
                )
        with self.ordered():
            self._take_over()
        mode = self.training and self._by_mode
        learned = [self.get_parameter(_name(name)) for name in self._learned()]
        if not torch.is_grad_enabled() or not any(each.requires_grad for each in (*inputs, *learned)):
            return _outputs(self, mode, inputs)
        results: Any = _Kernels.apply(self, mode, len(inputs), *inputs, *learned)
        return results[0] if len(results) == 1 else results

    def ordered(self) -> AbstractContextManager[None]:
        """Within it, a GPU's work goes to the stream that torch works in."""
        if self._device.type == "cpu":
            return nullcontext()
        return self.compiled.stream(torch.cuda.current_stream(self._device))

    def _learned(self) -> list[str]:
        """The keys of all learnables, in the network's order."""
        return [name for name, parameter in self.compiled.network.parameters.items() if parameter.learnable]

    def _tensor(self, name: str) -> Any:
        found = self._parameters.get(_name(name))
        return self._buffers[_name(name)] if found is None else found

    def _take_over(self) -> None:
        """Tells the network which of its arrays torch has changed, and copies those that lie elsewhere."""
        values: Any = self.compiled.parameters.stored
        for name in values.shapes:
            tensor, place = self._tensor(name).detach(), values.place(name)
            if tensor.data_ptr() != _address(place):
                values.write(name, tensor.cpu().numpy())
                self._tensor(name).data = torch.from_dlpack(place)
            elif self._versions[name] != self._tensor(name)._version:
                values.version += 1
        self._noted()

    def __setstate__(self, state: dict[str, Any]) -> None:
        """A copy's tensors are the memory of its own network."""
        super().__setstate__(state)
        values = self.compiled.parameters.stored
        for name in values.shapes:
            self._tensor(name).data = torch.from_dlpack(values.place(name))
        self._noted()

    def _noted(self) -> None:
        self._versions = {name: self._tensor(name)._version for name in self.compiled.parameters.stored.shapes}


class _Kernels(torch.autograd.Function):
    """One call under autograd."""

    @staticmethod
    def forward(context: Any, module: CompiledModule, mode: bool, count: int, *tensors: Any) -> Any:
        """(inputs…, learnables…) → outputs."""
        context.module, context.mode, context.count = module, mode, count
        context.iteration = module.compiled.hyperparameters.iteration
        context.save_for_backward(*tensors)  # which tells where one was changed before the backward pass
        results = _outputs(module, mode, tensors[:count])
        return results if isinstance(results, tuple) else (results,)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(context: Any, *cotangents: Any) -> tuple[Any, ...]:
        """Cotangents of the outputs → those of what `forward` took."""
        module, count, tensors = context.module, context.count, context.saved_tensors
        compiled = module.compiled
        nodes = compiled.network.inputs
        names = [f"input/{node.name}" if count > 1 else "input" for node in nodes] + module._learned()
        with module.ordered():
            inputs = tuple(map(_array, tensors[:count]))
            dy: Any = tuple(map(_array, cotangents))
            _, gradients = compiled.vjp(
                inputs if count > 1 else inputs[0],
                dy if len(dy) > 1 else dy[0],
                training=context.mode,
                iteration=context.iteration,
            )
            found = [_shaped(gradients.get(name), tensor) for name, tensor in zip(names, tensors, strict=True)]
        return (None, None, None, *found)


def _device(compiled: Compiled) -> Any:
    """Where a network's arrays lie, as torch says it; raises NetworkError where torch sees none there."""
    kind, _, number = compiled.target.partition(":")
    if isinstance(compiled.parameters.stored, HostValues):
        return torch.device("cpu")
    if kind == "cuda":
        return torch.device("cuda", int(number or 0))
    issue = (
        f"as_torch_module: the network is compiled for target {compiled.target!r}, whose arrays lie in the emulator; "
        "allowed: 'cpu' and 'cuda', whose arrays torch shares; compile it with target='cpu'"
    )
    raise NetworkError([issue])


def _outputs(module: CompiledModule, mode: bool, inputs: Any) -> Any:
    with module.ordered():
        arrays = tuple(map(_array, inputs))
        results = module.compiled.forward(*arrays) if mode else module.compiled.predict(*arrays)
        return tuple(map(torch.from_dlpack, results)) if isinstance(results, tuple) else torch.from_dlpack(results)


def _shaped(gradient: Any, tensor: Any) -> Any:
    """A gradient as a tensor; None where there is none."""
    if isinstance(gradient, np.ndarray):
        gradient = np.ascontiguousarray(gradient)
    return None if gradient is None else torch.from_dlpack(gradient).reshape(tensor.shape)


def _address(place: Any) -> int:
    """Of an array's first element."""
    return place.ctypes.data if isinstance(place, np.ndarray) else place.address


def _is_whole(x: Any) -> bool:
    return isinstance(x, torch.Tensor) and x.dtype in (torch.int32, torch.int64)


def _array(tensor: Any) -> Any:
    """The tensor's memory, if it is dense."""
    dense = tensor.detach().contiguous()
    return np.from_dlpack(dense) if dense.device.type == "cpu" else dense


def _name(key: str) -> str:
    return key.replace(".", "/")
