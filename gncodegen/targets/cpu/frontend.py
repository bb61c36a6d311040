"""Numba as a front end: a target of its own, whose functions become LLVM IR as lowered and are never run by Numba.

Numba's CPU target optimises and emits each function for its engine, then each caller again with what it inlined, and
types every operator against all of NumPy. A kernel's functions are linked first, then optimised and emitted once.
The mechanism: numba.core.target_extension.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from numba.core import compiler, typed_passes, types, untyped_passes
from numba.core.codegen import CPUCodeLibrary, JITCPUCodegen
from numba.core.compiler_machinery import PassManager
from numba.core.cpu import CPUContext, CPUTargetOptions
from numba.core.descriptors import TargetDescriptor
from numba.core.dispatcher import Dispatcher
from numba.core.fastmathpass import rewrite_module
from numba.core.target_extension import Generic, dispatcher_registry, jit_registry, target_override, target_registry
from numba.core.typing import context, mathdecl
from numba.cpython import mathimpl

from gncodegen.targets.cpu.host import processor, target_machine
from gncodegen.targets.cpu.lowering import REGISTRY, Lowering
from gncodegen.targets.cpu.single_assignment import Assignments, SingleAssignment

TARGET = "gncodegen"
"""The target's name in Numba's registry."""

OPTIONS: dict[str, Any] = {
    "nopython": True,
    "error_model": "numpy",
    "fastmath": {"contract"},
    "boundscheck": False,
    "debug": False,
    "_dbg_extend_lifetimes": False,
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
    "_nrt": False,
}
"""How kernels are compiled: no exceptions, NaN and Inf honest, a·b + c may fuse, nothing is reassociated.

Whatever NUMBA_DEBUGINFO and its like say: kernels that differ would lie in the cache under one name.
"""


class KernelTarget(Generic):
    """The target's token: implementations for any target hold, those for Numba's CPU target do not."""


target_registry[TARGET] = KernelTarget


class _Library(CPUCodeLibrary):
    """The LLVM IR of one function and of those that it calls, as lowered."""

    def add_llvm_module(self, ll_module: Any) -> None:
        self._final_module.link_in(ll_module)

    def finalize(self) -> None:
        for library in dict.fromkeys(self._linking_libraries):
            self._final_module.link_in(library._get_module_for_linking(), preserve=True)
        self._finalized = True


class _Codegen(JITCPUCodegen):
    """Modules for the processor that kernels are compiled for; Numba's own target machine compiles none of them."""

    _library_class = _Library

    def __init__(self, module_name: str) -> None:
        super().__init__(module_name)
        self._target_data = target_machine().target_data
        self._data_layout = str(self._target_data)

    def _create_empty_module(self, name: str) -> Any:
        module = super()._create_empty_module(name)
        module.triple = processor().triple
        return module


class _TargetContext(CPUContext):
    """Lowering: arithmetic, ranges, tuples, constant arrays and the vocabulary of kernels; no reference counts."""

    def __init__(self, typing_context: Any) -> None:
        super().__init__(typing_context, TARGET)
        self._internal_codegen = _Codegen(TARGET)

    def load_additional_registries(self) -> None:
        # The others register themselves when they are imported.
        for name in ("cpython.builtins", "cpython.numbers", "cpython.rangeobj", "cpython.tupleobj", "np.arrayobj"):
            import_module(f"numba.{name}")
        self.install_registry(mathimpl.registry)

    def refresh(self) -> None:
        super().refresh()
        self.install_registry(REGISTRY)

    def post_lowering(self, mod: Any, library: Any) -> None:
        rewrite_module(mod, self.fastmath)

    def get_executable(self, library: Any, fndesc: Any, env: Any) -> object:
        # Nothing to execute: callers look the function up by this object.
        return object()


class _TypingContext(context.BaseContext):
    """Typing that resolves an operator or intrinsic once for the same types of its operands."""

    def init(self) -> None:
        self._resolved: dict[Any, Any] = {}

    def load_additional_registries(self) -> None:
        self.install_registry(mathdecl.registry)

    def resolve_function_type(self, func: Any, args: Any, kws: Any) -> Any:
        shared: Any = func
        if not isinstance(func, types.Function) or kws:
            return super().resolve_function_type(func, args, kws)
        known = func, tuple(args)
        if known not in self._resolved:
            signature = super().resolve_function_type(func, args, kws)
            if signature is None:
                return None
            self._resolved[known] = signature, shared._impl_keys[signature.args]
        signature, implementation = self._resolved[known]
        # All targets share the type of a function such as `max`, which keeps what was resolved last, for any of them.
        shared._impl_keys[signature.args] = implementation
        return signature


class _Target(TargetDescriptor):
    """The pair of contexts, in which every function that kernels call is typed and lowered."""

    options = CPUTargetOptions

    def __init__(self) -> None:
        super().__init__(TARGET)
        self._typing_context = _TypingContext()
        self._target_context = _TargetContext(self._typing_context)

    @property
    def target_context(self) -> Any:
        return self._target_context

    @property
    def typing_context(self) -> Any:
        return self._typing_context


class _Compiler(compiler.CompilerBase):
    """The passes that kernels need: they have no closures or array expressions, and LLVM drops dead code."""

    def define_pipelines(self) -> list[PassManager]:
        passes = PassManager(TARGET)
        for stage in (
            untyped_passes.TranslateByteCode,
            untyped_passes.FixupArgs,
            SingleAssignment,
            typed_passes.NopythonTypeInference,
            Assignments,
            Lowering,
            typed_passes.NoPythonBackend,
        ):
            passes.add_pass(stage, stage.__name__)
        passes.finalize()
        return [passes]


class _DeviceFunction(Dispatcher):
    targetdescr = _Target()

    def add_overload(self, cres: Any) -> None:
        # Without the dispatcher's own table, which wants something that can be called.
        self.overloads[tuple(cres.signature.args)] = cres


def device(function: Callable[..., Any], *, debug: bool = False) -> Any:
    """Decorator for a function that kernels of the same file call; `debug`: with the lines of its source."""
    return _DeviceFunction(function, targetoptions=OPTIONS | {"debug": debug}, pipeline_class=_Compiler)


def lower(function: Callable[..., Any], *, debug: bool = False) -> tuple[Any, str]:
    """The LLVM module of a function of integers as lowered, and the function's name in it.

    Args:
        function: the kernel.
        debug: whether instructions know their lines in the source.

    Raises:
        numba.core.errors.NumbaError: the function cannot be typed or lowered.
    """
    kernel = device(function, debug=debug)
    with target_override(TARGET):
        kernel.compile((types.intp,) * function.__code__.co_argcount)
    (compiled,) = kernel.overloads.values()
    compiled.library._ensure_finalized()
    return compiled.library._final_module, compiled.fndesc.llvm_func_name


dispatcher_registry[KernelTarget] = _DeviceFunction
jit_registry[KernelTarget] = lambda *_, **__: device
