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
    """Keep what operators and intrinsics resolve to: Numba searches all templates again at each call, half its work."""
    context: Any = import_module("numba.cuda.target").CUDATypingContext
    resolve: Any = context.resolve_function_type

    def resolve_function_type(self: Any, func: Any, args: Any, kws: Any) -> Any:
        if not isinstance(func, types.Function) or kws:
            return resolve(self, func, args, kws)
        known: dict[Any, Any] = self.__dict__.setdefault("_resolved", {})
        key = func, tuple(args)
        if key not in known:
            found = resolve(self, func, args, kws)
            if found is None:
                return None
            known[key] = found, func._impl_keys[found.args]
        found, implementation = known[key]
        # All targets share the type of a function such as `max`, which keeps what was resolved last, for any of them.
        func._impl_keys[found.args] = implementation
        return found

    context.resolve_function_type = resolve_function_type


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
