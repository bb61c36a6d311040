"""What the target takes from numba-cuda, in one place: type checkers see the old `numba.cuda` that it replaces.

Another Numba compiler for CUDA could stand here.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_extending: Any = import_module("numba.cuda.extending")
_implementations: Any = import_module("numba.cuda.cudaimpl")
_models: Any = import_module("numba.cuda.datamodel.models")
_templates: Any = import_module("numba.cuda.typing.templates")

types: Any = import_module("numba.cuda").types
cgutils: Any = import_module("numba.cuda.cgutils")

intrinsic: Any = _extending.intrinsic
"""Decorator of a typing function whose code generator emits LLVM IR in place of the call."""

intrinsic_of_literals: Any = _extending._intrinsic(target="cuda", prefer_literal=True)
"""`intrinsic` whose typing function sees constant arguments as literals."""

register_model: Any = import_module("numba.cuda.models").register_model
PrimitiveModel: Any = _models.PrimitiveModel
OpaqueModel: Any = _models.OpaqueModel

declarations: Any = import_module("numba.cuda.cudadecl").registry
"""Where types of operators are declared."""

lower: Any = _implementations.lower
lower_cast: Any = _implementations.lower_cast
lower_constant: Any = _implementations.lower_constant

AbstractTemplate: Any = _templates.AbstractTemplate
signature: Any = _templates.signature
Conversion: Any = import_module("numba.cuda.typeconv").Conversion
typeof_impl: Any = import_module("numba.cuda.typing.typeof").typeof_impl


def _remember_locations() -> None:
    """Keep debug locations: Numba makes one per instruction and hashes the whole function each time, half its work."""
    builder: Any = import_module("numba.cuda.debuginfo").DIBuilder
    made: Any = builder._di_location

    def location(self: Any, line: int) -> Any:
        known: dict[tuple[int, int], Any] = self.__dict__.setdefault("_locations", {})
        key = (line, id(self.subprograms[-1]))
        if key not in known:
            known[key] = made(self, line)
        return known[key]

    builder._di_location = location


def _remember_signatures() -> None:
    """Type a function once for the same types of its arguments: Numba does it anew for every call, in two passes."""
    known: dict[Any, tuple[Any, Any]] = {}
    mine: Any = import_module("numba.cuda.target").CUDATypingContext
    configurations: Any = import_module("numba.cuda.core.targetconfig").ConfigStack
    typed: Any = types.Function.get_call_type

    def get_call_type(self: Any, context: Any, args: Any, kws: Any) -> Any:
        flags = configurations.top_or_none()
        if kws or flags is None or not isinstance(context, mine):
            return typed(self, context, args, kws)
        key = self, tuple(args), flags.compute_capability
        if key not in known:
            signature = typed(self, context, args, kws)
            if signature is None:
                return None
            known[key] = signature, self._impl_keys[signature.args]
        signature, implementation = known[key]
        # The function keeps what was resolved last, for any capability.
        self._impl_keys[signature.args] = implementation
        return signature

    types.Function.get_call_type = get_call_type


_remember_locations()
_remember_signatures()


def compile_kernel(
    function: Any, arguments: tuple[Any, ...], capability: tuple[int, int], bounds: tuple[int, int]
) -> Any:
    """Numba's code library of a kernel: `get_llvm_str()` and `get_asm_str(cc=capability)`.

    Args:
        function: the Python function.
        arguments: Numba types of its parameters.
        capability: (major, minor).
        bounds: (threads per block, least blocks per multiprocessor).
    """
    # `cuda.compile` gives PTX alone; the library behind it has the LLVM IR too.
    compile_library: Any = import_module("numba.cuda.compiler")._compile_pyfunc_with_fixup
    library, _ = compile_library(
        function, arguments, device=False, abi="numba", cc=capability, lineinfo=True, launch_bounds=bounds
    )
    return library
