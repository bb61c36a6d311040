"""A module as torch.export sees it: nodes of ATen operators, its tensors, and the arrays that it takes and returns."""

from __future__ import annotations

import warnings
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from gncodegen.errors import NetworkError
from gncodegen.exchange.torch.framework import framework


@dataclass(frozen=True)
class Captured:
    """A module's computation.

    Args:
        nodes: of the fx graph, in order.
        tensors: name of a placeholder → the module's own tensor.
        names: name of a placeholder → what the module calls that tensor.
        inputs: placeholders of the arrays that the caller gives.
        results: the nodes whose values the module returns, in order, without None.
    """

    nodes: Sequence[Any]
    tensors: Mapping[str, Any]
    names: Mapping[str, str]
    inputs: Sequence[Any]
    results: Sequence[Any]


def examples_of(example_inputs: Any) -> tuple[Any, ...]:
    """The example inputs, one tensor each.

    Raises:
        NetworkError: something is no tensor of floats or of whole numbers.
    """
    torch = framework("from_torch")
    examples = tuple(example_inputs) if isinstance(example_inputs, (tuple, list)) else (example_inputs,)
    known = (torch.float32, torch.float64, torch.int32, torch.int64)
    for number, example in enumerate(examples, 1):
        if not isinstance(example, torch.Tensor) or example.dtype not in known:
            given = getattr(example, "dtype", type(example).__name__)
            allowed = "tensors of float32 or float64, or of int32 or int64 as places"
            issue = f"from_torch: example input {number} is {given}; allowed: {allowed}; convert it"
            raise NetworkError([issue])
    if not examples:
        raise NetworkError(["from_torch: no example input; allowed: one tensor for each input; give a tuple of them"])
    return examples


def captured(module: Any, example_inputs: Any, free: bool = True) -> Captured:
    """The computation of a module, whose first axes are left open where the module does not fix them.

    Args:
        module: an nn.Module, in training or evaluation mode.
        example_inputs: a tensor, or a tuple of tensors.
        free: False = all axes are as those of the examples.

    Raises:
        NetworkError: it is no module, or torch.export cannot trace it.

    Source: torch.export, "Export IR"; functional ATen operators, no further decompositions.
    """
    torch = framework("from_torch")
    if not isinstance(module, torch.nn.Module):
        issue = f"from_torch: the module is {type(module).__name__}; allowed: an nn.Module; make one"
        raise NetworkError([issue])
    examples = examples_of(example_inputs)
    program = _exported(torch, module, examples, free)
    signature = program.graph_signature
    kinds = torch.export.graph_signature.InputKind
    placeholders = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    own = {spec.arg.name: spec.target for spec in signature.input_specs if spec.kind != kinds.USER_INPUT}
    tensors = dict(module.named_parameters(remove_duplicate=False)) | dict(module.named_buffers(remove_duplicate=False))
    lifted = {**program.constants, **program.state_dict}
    values = {name: tensors[target] if target in tensors else lifted[target] for name, target in own.items()}
    inputs = [placeholders[spec.arg.name] for spec in signature.input_specs if spec.kind == kinds.USER_INPUT]
    returned = list(program.graph.nodes)[-1].args[0]
    user = torch.export.graph_signature.OutputKind.USER_OUTPUT
    results = [
        node
        for node, spec in zip(returned, signature.output_specs, strict=True)
        if spec.kind == user and node is not None
    ]  # buffers that training changes come first
    numbers = [result for result in results if not hasattr(result, "meta")]
    if numbers:
        raise NetworkError([f"from_torch: an output is {numbers[0]!r}; allowed: tensors and None; return those alone"])
    return Captured(list(program.graph.nodes), values, {k: v for k, v in own.items() if v in tensors}, inputs, results)


@contextmanager
def _by_operators(torch: Any) -> Generator[None]:
    """Attention of modules by its operators, and not as one call that shows nothing of them."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def _exported(torch: Any, module: Any, examples: tuple[Any, ...], free: bool) -> Any:
    """The ExportedProgram, with free first axes if that goes, else of the examples as they are."""
    examples = tuple(x.detach().clone() for x in examples)  # one tensor in two places would be one input
    # One observation would be taken for a fact of the module.
    several = tuple(x.repeat(2, *[1] * (x.dim() - 1)) if x.dim() and x.shape[0] == 1 else x for x in examples)
    open_ = torch.export.ShapesCollection()
    for x in several:
        if x.dim():
            open_[x] = {0: torch.export.Dim.AUTO}
    failure: Exception | None = None
    with warnings.catch_warnings(), torch.no_grad(), _by_operators(torch):
        warnings.simplefilter("ignore")  # of torch about torch
        for arrays, shapes in ((several, open_), (examples, None))[not free :]:
            try:
                program = torch.export.export(module, arrays, dynamic_shapes=shapes, strict=False)
                return program.run_decompositions({})
            except Exception as error:
                failure = failure or error
    reason = (str(failure).strip().splitlines() or [type(failure).__name__])[0]
    issue = (
        f"from_torch: torch.export cannot trace the module: {reason}; allowed: modules whose path does not depend on "
        "values; make torch.export.export(module, examples) work first"
    )
    raise NetworkError([issue]) from failure
