"""What the target takes from numba-cuda, in one place: the names in USED, and nothing else anywhere.

Type checkers see the old `numba.cuda` that it replaces. Tested with the versions that pyproject.toml allows; another
Numba compiler for CUDA could stand here, and docs/numba-cuda.md says how far its successor is.
"""

from __future__ import annotations

from contextvars import ContextVar
from functools import cache
from importlib import import_module
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

from gncodegen.errors import TargetError

USED = {
    # types, and what a type or a declaration is made of
    "numba.cuda": ("types", "cgutils", "compile_ptx"),
    "numba.cuda.datamodel.models": ("PrimitiveModel", "OpaqueModel"),
    "numba.cuda.models": ("register_model",),
    "numba.cuda.typeconv": ("Conversion",),
    "numba.cuda.typing.templates": ("AbstractTemplate", "signature"),
    "numba.cuda.typing.typeof": ("typeof_impl", "typeof", "Purpose"),
    # functions that become LLVM IR of ours
    "numba.cuda.extending": ("intrinsic", "_intrinsic"),
    "numba.cuda.cudadecl": ("registry",),
    "numba.cuda.cudaimpl": ("lower", "lower_cast", "lower_constant"),
    # the compiler
    "numba.cuda.compiler": ("_compile_pyfunc_with_fixup", "CUDACompiler"),
    "numba.cuda.core.targetconfig": ("ConfigStack",),
    "numba.cuda.debuginfo": ("DIBuilder",),
    "numba.cuda.descriptor": ("cuda_target",),
    "numba.cuda.dispatcher": ("get_current_device",),
    "numba.cuda.target": ("CUDATypingContext",),
}
"""Module → its names that are used here."""


def _taken(module: str, name: str) -> Any:
    assert name in USED[module]
    found = getattr(import_module(module), name, None)
    if found is None:
        raise TargetError(
            f"numba-cuda {version('numba-cuda')} has no {module}.{name}; allowed: the versions that gncodegen was "
            "tested with; run `pip install --upgrade 'gncodegen[cuda]'`"
        )
    return found


types: Any = _taken("numba.cuda", "types")
cgutils: Any = _taken("numba.cuda", "cgutils")

intrinsic: Any = _taken("numba.cuda.extending", "intrinsic")
"""Decorator of a typing function whose code generator emits LLVM IR in place of the call."""

intrinsic_of_literals: Any = _taken("numba.cuda.extending", "_intrinsic")(target="cuda", prefer_literal=True)
"""`intrinsic` whose typing function sees constant arguments as literals."""

register_model: Any = _taken("numba.cuda.models", "register_model")
PrimitiveModel: Any = _taken("numba.cuda.datamodel.models", "PrimitiveModel")
OpaqueModel: Any = _taken("numba.cuda.datamodel.models", "OpaqueModel")

declarations: Any = _taken("numba.cuda.cudadecl", "registry")
"""Where types of operators are declared."""

lower: Any = _taken("numba.cuda.cudaimpl", "lower")
lower_cast: Any = _taken("numba.cuda.cudaimpl", "lower_cast")
lower_constant: Any = _taken("numba.cuda.cudaimpl", "lower_constant")

AbstractTemplate: Any = _taken("numba.cuda.typing.templates", "AbstractTemplate")
signature: Any = _taken("numba.cuda.typing.templates", "signature")
Conversion: Any = _taken("numba.cuda.typeconv", "Conversion")
typeof_impl: Any = _taken("numba.cuda.typing.typeof", "typeof_impl")


def _remember_locations() -> None:
    """Keep debug locations: Numba makes one per instruction and hashes the whole function each time, half its work."""
    builder: Any = _taken("numba.cuda.debuginfo", "DIBuilder")
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
    mine: Any = _taken("numba.cuda.target", "CUDATypingContext")
    configurations: Any = _taken("numba.cuda.core.targetconfig", "ConfigStack")
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


IDLE = (
    "WithLifting", "InlineClosureLikes", "RewriteDynamicRaises", "MakeFunctionToJitFunction", "InlineInlinables",
    "FindLiterallyCalls", "LiteralUnroll", "LiteralPropagationSubPipelinePass", "NopythonRewrites", "InlineOverloads",
    "AnnotateTypes",
)  # fmt: skip
"""Passes about closures, array expressions and overloads, of which our kernels have none: a sixth of a compilation."""

_ours = ContextVar("_ours", default=False)
"""Whether what is compiled is a kernel of ours."""


def _leave_out_idle_passes() -> None:
    compiler: Any = _taken("numba.cuda.compiler", "CUDACompiler")
    all_passes: Any = compiler.define_pipelines

    def define_pipelines(self: Any) -> Any:
        found = all_passes(self)
        if _ours.get():
            for pipeline in found:
                pipeline.passes = [each for each in pipeline.passes if each[0].__name__ not in IDLE]
        return found

    compiler.define_pipelines = define_pipelines


_remember_locations()
_remember_signatures()
_leave_out_idle_passes()


@cache
def _own_declarations_first() -> None:
    """Where a process has compiled kernels of its own before ours, Numba knows other declarations of operators first.

    It takes the first that fits, by conversion if need be: an Index would become an int64.
    """
    context: Any = _taken("numba.cuda.descriptor", "cuda_target").typing_context
    context.refresh()

    def is_other(template: type) -> bool:
        return not any(base.__module__.startswith("gncodegen.") for base in template.__mro__)

    for function in context._globals.values():
        if isinstance(function, types.Function):
            function.templates = tuple(sorted(function.templates, key=is_other))


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
    _own_declarations_first()
    # `cuda.compile` gives PTX alone; the library behind it has the LLVM IR too.
    compile_library: Any = _taken("numba.cuda.compiler", "_compile_pyfunc_with_fixup")
    ours = _ours.set(True)
    try:
        library, _ = compile_library(
            function, arguments, device=False, abi="numba", cc=capability, lineinfo=True, launch_bounds=bounds
        )
    finally:
        _ours.reset(ours)
    return library


_DISPATCHER = "numba.cuda.dispatcher"
"""Where device functions are compiled when a kernel calls them."""


def is_pointer(kind: Any) -> bool:
    """Whether a parameter of this type is a bare address."""
    return isinstance(kind, types.CPointer)


def types_of(values: tuple[Any, ...], declared: Any) -> tuple[Any, ...]:
    """Numba types of a kernel's parameters.

    Args:
        values: its arguments.
        declared: its signature, or the types, where they do not follow from the arguments; None = they do.
    """
    if declared is not None:
        return tuple(getattr(declared, "args", declared))
    typeof: Any = _taken("numba.cuda.typing.typeof", "typeof")
    argument: Any = _taken("numba.cuda.typing.typeof", "Purpose").argument
    return tuple(typeof(value, argument) for value in values)


def compile_own(kernel: Any, parameters: tuple[Any, ...], capability: tuple[int, int]) -> str:
    """PTX of a kernel that is none of ours; device functions it calls need no driver.

    Args:
        kernel: a Python function, or what `numba.cuda.jit` made of it.
        parameters: Numba types.
        capability: (major, minor).
    """
    asked: Any = _taken("numba.cuda.dispatcher", "get_current_device")
    module: Any = import_module(_DISPATCHER)
    module.get_current_device = lambda: SimpleNamespace(compute_capability=capability)
    try:
        compile_ptx: Any = _taken("numba.cuda", "compile_ptx")
        return compile_ptx(getattr(kernel, "py_func", kernel), parameters, cc=capability, lineinfo=True)[0]
    finally:
        module.get_current_device = asked
