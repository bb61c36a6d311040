"""A compiled network as a torch module: forward and backward are its kernels, its arrays are torch's parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

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
    In training mode dropout drops and batch norms take the batch's statistics, as in torch.

    Args:
        compiled: on the CPU.
    """

    def __init__(self, compiled: Compiled) -> None:
        super().__init__()
        values = compiled.parameters.stored
        if not isinstance(values, HostValues):
            issue = (
                f"as_torch_module: the network is compiled for target {compiled.target!r}; allowed: 'cpu', whose "
                "arrays torch shares; compile it with target='cpu', or call compiled.vjp with arrays of the GPU"
            )
            raise NetworkError([issue])
        self.compiled, self._versions = compiled, dict[str, int]()
        layers = [node.layer for node in compiled.network.inputs]
        self._whole = {number for number, layer in enumerate(layers) if getattr(layer, "whole", False)}
        self._by_mode = any(
            isinstance(node.layer, (DropoutLayer, BatchNormalizationLayer)) for node in compiled.network.nodes
        )
        for name, parameter in compiled.network.parameters.items():
            tensor = torch.from_dlpack(values.arrays[name])
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
            if not isinstance(x, torch.Tensor) or x.dtype != wanted or x.device.type != "cpu":
                given = f"{x.dtype} on {x.device}" if isinstance(x, torch.Tensor) else type(x).__name__
                raise ArrayError(
                    f"input {number} is {given}; allowed: {wanted} tensors on the CPU; convert it, or compile with "
                    "another dtype"
                )
        self._take_over()
        mode = self.training and self._by_mode
        learned = [self.get_parameter(_name(name)) for name in self._learned()]
        if not torch.is_grad_enabled() or not any(each.requires_grad for each in (*inputs, *learned)):
            return _tensors(_outputs(self, mode, inputs))
        results: Any = _Kernels.apply(self, mode, len(inputs), *inputs, *learned)
        return results[0] if len(results) == 1 else results

    def _learned(self) -> list[str]:
        """The keys of all learnables, in the network's order."""
        return [name for name, parameter in self.compiled.network.parameters.items() if parameter.learnable]

    def _tensor(self, name: str) -> Any:
        found = self._parameters.get(_name(name))
        return self._buffers[_name(name)] if found is None else found

    def _take_over(self) -> None:
        """Tells the network which of its arrays torch has changed, and copies those that lie elsewhere."""
        values: Any = self.compiled.parameters.stored
        for name, array in values.arrays.items():
            tensor = self._tensor(name).detach()
            if tensor.data_ptr() != array.ctypes.data:
                values.write(name, tensor.cpu().numpy())
                self._tensor(name).data = torch.from_dlpack(array)
            elif self._versions[name] != self._tensor(name)._version:
                values.version += 1
        self._noted()

    def __setstate__(self, state: dict[str, Any]) -> None:
        """A copy's tensors are the memory of its own network."""
        super().__setstate__(state)
        values: Any = self.compiled.parameters.stored
        for name, array in values.arrays.items():
            self._tensor(name).data = torch.from_dlpack(array)
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
        results = _tensors(_outputs(module, mode, tensors[:count]))
        return results if isinstance(results, tuple) else (results,)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(context: Any, *cotangents: Any) -> tuple[Any, ...]:
        """Cotangents of the outputs → those of what `forward` took."""
        module, count, tensors = context.module, context.count, context.saved_tensors
        compiled = module.compiled
        inputs = tuple(map(_array, tensors[:count]))
        dy: Any = tuple(map(_array, cotangents))
        _, gradients = compiled.vjp(
            inputs if count > 1 else inputs[0],
            dy if len(dy) > 1 else dy[0],
            training=context.mode,
            iteration=context.iteration,
        )
        nodes = compiled.network.inputs
        names = [f"input/{node.name}" if count > 1 else "input" for node in nodes] + module._learned()
        found = [_shaped(gradients.get(name), tensor) for name, tensor in zip(names, tensors, strict=True)]
        return (None, None, None, *found)


def _outputs(module: CompiledModule, mode: bool, inputs: Any) -> Any:
    arrays = tuple(map(_array, inputs))
    return module.compiled.forward(*arrays) if mode else module.compiled.predict(*arrays)


def _shaped(gradient: NDArray[Any] | None, tensor: Any) -> Any:
    """A gradient as a tensor; None where there is none."""
    return None if gradient is None else torch.from_dlpack(np.ascontiguousarray(gradient)).reshape(tensor.shape)


def _is_whole(x: Any) -> bool:
    return isinstance(x, torch.Tensor) and x.dtype in (torch.int32, torch.int64)


def _array(tensor: Any) -> NDArray[Any]:
    """The tensor's memory, if it is dense."""
    return np.from_dlpack(tensor.detach().contiguous())


def _tensors(results: Any) -> Any:
    return tuple(map(torch.from_dlpack, results)) if isinstance(results, tuple) else torch.from_dlpack(results)


def _name(key: str) -> str:
    return key.replace(".", "/")
