"""Static single assignment for all variables of a kernel at once, and each constant read once in a block.

Numba walks all statements twice for each variable that is assigned more than once, and types and lowers each read of a
constant or function by itself. But for those, the result is Numba's: minimal form, its names, its order of phi nodes.
Source: R. Cytron et al., Efficiently computing static single assignment form, ACM TOPLAS 13, 1991.
"""

from __future__ import annotations

from typing import Any

from numba.core import ir_utils
from numba.core.analysis import compute_cfg_from_blocks
from numba.core.compiler_machinery import FunctionPass, register_pass
from numba.core.ir import UNDEFINED, Assign, Const, Expr, FreeVar, Global, Inst, Var
from numba.core.transforms import canonicalize_cfg
from numba.core.typed_passes import PreLowerStripPhis


@register_pass(mutates_CFG=False, analysis_only=False)
class SingleAssignment(FunctionPass):
    """Takes the place of Numba's IRProcessing and ReconstructSSA."""

    _name = "gncodegen_single_assignment"

    def __init__(self) -> None:
        FunctionPass.__init__(self)

    def run_pass(self, state: Any) -> Any:
        """Changes the function's blocks."""
        function = state.func_ir
        function.blocks = canonicalize_cfg(function.blocks)
        function.generator_info = None
        _Renaming(function.blocks).run()
        function._definitions = ir_utils.build_definitions(function.blocks)
        return True


@register_pass(mutates_CFG=False, analysis_only=False)
class Assignments(PreLowerStripPhis):
    """Takes the place of Numba's PreLowerStripPhis: assignments for phi nodes, without the lifetimes of variables."""

    _name = "gncodegen_assignments"

    def run_pass(self, state: Any) -> Any:
        """Changes the function's blocks."""
        self._strip_phi_nodes(state.func_ir)
        state.func_ir._definitions = ir_utils.build_definitions(state.func_ir.blocks)
        return True


def _constant_read(value: Any) -> tuple[Any, ...]:
    """What a constant or global variable is told by; () for other values."""
    if isinstance(value, (Global, FreeVar)):
        return type(value), value.name
    if isinstance(value, Const) and isinstance(value.value, (bool, int, float, str)):
        return type(value.value), repr(value.value)
    return ()


def _operands(statement: Any) -> list[Any]:
    """The variables that a statement reads."""
    if not isinstance(statement, Assign):
        return statement.list_vars()
    value = statement.value
    return value.list_vars() if isinstance(value, Inst) else [value] if isinstance(value, Var) else []


def _replace(statement: Any, operands: list[Any], by: dict[str, Any]) -> None:
    """Puts others in the place of variables that a statement reads."""
    found = {each.name: new for each in operands if (new := by.get(each.name, each)).name != each.name}
    if not found:
        return
    if not isinstance(statement, Assign):
        ir_utils.replace_vars_stmt(statement, found)
    elif isinstance(statement.value, Var):
        statement.value = found[statement.value.name]
    else:
        ir_utils.replace_vars_inner(statement.value, found)


class _Renaming:
    """A variable for each assignment, and phi nodes where several of them meet.

    Args:
        blocks: label → block of a function; changed in place.
    """

    def __init__(self, blocks: dict[int, Any]) -> None:
        self.blocks = blocks
        self.graph = compute_cfg_from_blocks(blocks)
        self.dominators: Any = self.graph.immediate_dominators()
        self.scope = next(iter(blocks.values())).scope
        self.operands = {label: [_operands(each) for each in block.body] for label, block in blocks.items()}
        self.last: dict[str, dict[int, Any]] = {name: {} for name in self._several()}
        self.phis: dict[str, dict[int, Any]] = {name: {} for name in self.last}
        self.original: dict[str, str] = {}

    def run(self) -> None:
        self._name_assignments()
        self.meetings = {name: self._meetings(last) for name, last in self.last.items()}
        for label, block in self.blocks.items():
            self._rename(label, block)
        for name in self.last:
            for label, phi in self.phis[name].items():
                self.blocks[label].body.insert(0, phi)

    def _several(self) -> list[str]:
        """Variables that are assigned more than once, then those that a block reads which their assignment may miss."""
        places: dict[str, list[int]] = {}
        reads: dict[str, set[int]] = {}
        for label, block in self.blocks.items():
            for statement, operands in zip(block.body, self.operands[label], strict=True):
                target = statement.target.name if isinstance(statement, Assign) else None
                if target:
                    places.setdefault(target, []).append(label)
                for operand in operands:
                    if operand.name != target:
                        reads.setdefault(operand.name, set()).add(label)
        dominators = self.graph.dominators()
        several = [name for name, labels in places.items() if len(labels) > 1]
        missed = [
            name
            for name, labels in reads.items()
            if len(places.get(name, ())) < 2
            and any(dominators[label].isdisjoint(places.get(name, ())) for label in labels)
        ]
        return several + missed

    def _name_assignments(self) -> None:
        """Each assignment but the first gets a variable of its own."""
        for label, block in self.blocks.items():
            for statement in block.body:
                if isinstance(statement, Assign) and (name := statement.target.name) in self.last:
                    if self.last[name]:
                        statement.target = self.scope.redefine(name, loc=statement.loc)
                    self.last[name][label] = statement.target
                    self.original[statement.target.name] = name

    def _meetings(self, last: dict[int, Any]) -> set[int]:
        """The blocks in which several assignments may meet: the iterated dominance frontier of those that have one."""
        frontiers = self.graph.dominance_frontier()
        found: set[int] = set()
        left = list(last)
        while left:
            new = frontiers[left.pop()] - found
            found |= new
            left += new
        return found

    def _rename(self, label: int, block: Any) -> None:
        """Puts what a variable is at each statement of a block in its place; a constant read again is the first one."""
        here: dict[str, Any] = {}
        constants: dict[tuple[Any, ...], Any] = {}
        body: list[Any] = []
        for statement, operands in zip(block.body, self.operands[label], strict=True):
            for each in operands:
                if each.name in self.last and each.name not in here:
                    variable = self._at_start(each.name, label)
                    here[each.name] = each if variable is UNDEFINED else variable
            _replace(statement, operands, here)
            if isinstance(statement, Assign):
                target = statement.target
                if target.name in self.original:
                    here[self.original[target.name]] = target
                elif target.is_temp and (read := _constant_read(statement.value)):
                    if read in constants:
                        here[target.name] = constants[read]
                        continue
                    constants[read] = target
            body.append(statement)
        block.body = body

    def _at_start(self, name: str, label: int) -> Any:
        """The variable that stands for `name` where a block begins."""
        while label not in self.meetings[name]:
            if self.dominators[label] == label:
                return UNDEFINED
            label = self.dominators[label]
            if label in self.last[name]:
                return self.last[name][label]
        if label not in self.phis[name]:
            block = self.blocks[label]
            variable = self.scope.redefine(name, loc=block.loc)
            phi: Any = Expr.phi(loc=block.loc)
            self.phis[name][label] = Assign(phi, variable, block.loc)
            for before, _ in self.graph.predecessors(label):
                phi.incoming_values.append(self._at_end(name, before))
                phi.incoming_blocks.append(before)
        return self.phis[name][label].target

    def _at_end(self, name: str, label: int) -> Any:
        """The variable that stands for `name` where a block ends."""
        return self.last[name].get(label) or self._at_start(name, label)
