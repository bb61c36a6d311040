"""torch's tensors on a GPU of the stub, for a torch that was built without CUDA.

Their memory is the stub's; what torch computes with them is work in its current stream, done on the host's copies.
To autograd they are tensors of the CPU, which it can work with.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map_only

from gncodegen.targets.cuda.device import cuda_python
from support.cuda_stub.arrays import Capsule, GpuArray
from support.cuda_stub.driver import Driver
from support.cuda_stub.streams import LEGACY, Use


class Gpu:
    """What torch knows of a GPU.

    Args:
        driver: of the stub.
    """

    def __init__(self, driver: Driver) -> None:
        self.driver, self.stream = driver, LEGACY

    def lend(self, monkeypatch: Any) -> Gpu:
        """Makes torch take arrays of the stub, and say its stream."""
        own = torch.from_dlpack
        monkeypatch.setattr(torch, "from_dlpack", lambda x: own(x) if _on_host(x) else self.of_array(x))
        monkeypatch.setattr(torch.cuda, "current_stream", lambda device: SimpleNamespace(cuda_stream=self.stream))
        return self

    def of_array(self, array: Any) -> CudaTensor:
        """A tensor over an array of ours, as torch asks for it: ready on its stream."""
        found = Capsule(array.__dlpack__(stream=self.stream, max_version=(1, 0)))
        assert found.device == (2, 0)
        return CudaTensor(self, found.address, found.shape, getattr(torch, array.dtype.name), array)

    def tensor(self, values: np.ndarray | torch.Tensor) -> CudaTensor:
        """A tensor in fresh memory, filled."""
        values = torch.as_tensor(values).contiguous()
        array = GpuArray(self.driver, values.numpy())
        address = array.__cuda_array_interface__["data"][0]
        return CudaTensor(self, address, tuple(values.shape), values.dtype, array)


class CudaTensor(torch.Tensor):
    """A dense tensor in the stub's memory.

    Args:
        gpu: where.
        address: of its first element.
        shape: extents.
        dtype: torch's.
        owner: keeps the memory.
    """

    @staticmethod
    def __new__(cls, gpu: Gpu, address: int, shape: Any, dtype: Any, owner: Any) -> CudaTensor:
        made = torch.Tensor._make_wrapper_subclass(cls, shape, dtype=dtype, device="cpu")
        made.gpu, made.address, made.owner = gpu, address, owner
        return made

    device = torch.device("cuda", 0)
    is_cuda = True
    __array__ = None

    @property
    def data(self) -> CudaTensor:
        """The same memory, of which autograd knows nothing; a tensor that is assigned puts its memory in this place."""
        return self.detach()

    @data.setter
    def data(self, other: CudaTensor) -> None:
        assert other.shape == self.shape
        self.address, self.owner = other.address, other.owner

    def data_ptr(self) -> int:
        return self.address

    def numpy(self, *given: Any, **named: Any) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy")

    def cpu(self) -> torch.Tensor:
        """A copy on the host."""
        found = torch.empty(self.shape, dtype=self.dtype)
        self.gpu.driver.streams.finish(self._submit(lambda: found.copy_(self._copied()), "copy to the host", False))
        return found

    def __deepcopy__(self, memo: dict[int, Any]) -> CudaTensor:
        copied = self.gpu.tensor(self.cpu()).requires_grad_(self.requires_grad)
        copied._is_param = getattr(self, "_is_param", False)
        return memo.setdefault(id(self), copied)

    def __dlpack_device__(self) -> tuple[int, int]:
        return (2, 0)

    def __dlpack__(self, *, stream: int | None = None, **options: Any) -> Any:
        """As torch's: the consumer's stream waits for the current one."""
        assert not self.requires_grad
        streams = self.gpu.driver.streams
        if stream not in (None, -1, self.gpu.stream):
            done = streams.submit(self.gpu.stream, lambda: None, "event of torch")
            waiting = streams.submit(stream, lambda: None, "wait for torch")
            waiting.after = (*waiting.after, done)
        dtype = np.dtype(str(self.dtype).removeprefix("torch."))
        return cuda_python.capsule(self.address, tuple(self.shape), dtype, self, **options)

    def _copied(self) -> torch.Tensor:
        dtype = np.dtype(str(self.dtype).removeprefix("torch."))
        return torch.from_numpy(self.gpu.driver.memory.device.read(self.address, tuple(self.shape), dtype))

    def _submit(self, action: Any, what: str, writes: bool, *others: CudaTensor) -> Any:
        uses = [Use(self.address, writes), *(Use(each.address, False) for each in others)]
        return self.gpu.driver.streams.submit(self.gpu.stream, action, what, *uses)

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Runs an operator on copies, at once, and puts back what it changed."""
        kwargs = kwargs or {}
        given = [each for each in tree_flatten((args, kwargs))[0] if isinstance(each, CudaTensor)]
        gpu, changed = given[0].gpu, function._schema.is_mutable
        tensors = [each for each in tree_flatten((args, kwargs))[0] if isinstance(each, torch.Tensor)]
        assert all(each.is_cuda or not each.dim() for each in tensors), f"{function} of tensors on cuda:0 and the CPU"
        results: list[Any] = []
        copies = {id(each): each for each in given}

        def run() -> None:
            own = {key: each._copied() for key, each in copies.items()}
            swapped = tree_map_only(CudaTensor, lambda each: own[id(each)], (args, kwargs))
            results.append(function(*swapped[0], **swapped[1]))
            for key, each in copies.items():
                if changed:
                    gpu.driver.memory.device.write(each.address, own[key].numpy())
            results.append(own)

        first, *others = given
        gpu.driver.streams.finish(first._submit(run, str(function), changed, *others))
        found, own = results
        starts = {own[key].untyped_storage().data_ptr(): copies[key] for key in own}

        def placed(result: torch.Tensor) -> CudaTensor:
            source = starts.get(result.untyped_storage().data_ptr())
            if source is None or not result.is_contiguous():
                return gpu.tensor(result)
            address = source.address + result.storage_offset() * result.element_size()
            return CudaTensor(gpu, address, tuple(result.shape), result.dtype, source.owner)

        wrapped = tree_map_only(torch.Tensor, placed, found)
        return return_and_correct_aliasing(function, args, kwargs, wrapped) if changed else wrapped


def _on_host(array: Any) -> bool:
    return array.__dlpack_device__()[0] != 2
