"""CompileOptions: how a network is compiled. One field is one option, with its check and its help text.

`compile`, `train_network`, `load` and the command line take the fields by name; the whole path reads this one object,
and the cache its digest. A field named like one of Machine's goes into the machine that kernels are planned for.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import Field, asdict, dataclass, field, fields, replace
from functools import wraps
from os import PathLike
from textwrap import fill
from typing import Any, Literal, TypeVar, cast

from gncodegen.errors import OptionsError
from gncodegen.kernels.loss_scale import SCALED
from gncodegen.kernels.program import STEPS
from gncodegen.kernels.schedule import Machine, computed_in
from gncodegen.kernels.solvers import SOLVERS
from gncodegen.layers.checks import Check, flag, integer_from, optional, require, shown
from gncodegen.layers.frozen import freeze
from gncodegen.tables import keyword_cure
from gncodegen.targets.registry import MATH, check, row_of

F = TypeVar("F", bound=Callable[..., Any])

GivenBy = Literal["caller", "compile", "training options"]
"""Who chooses an option: every caller; only callers of `compile` and `load`, since a training run decides it itself;
or the training options."""


@dataclass(frozen=True)
class Option:
    """What belongs to a field of CompileOptions beside its name, type and default.

    Args:
        check: given value → canonical value, or a refusal.
        help: one sentence for docstrings and the command line.
        given_by: who chooses it.
        decides_program: whether Programs depend on it; what does not is left out of their keys.
    """

    check: Check
    help: str
    given_by: GivenBy = "caller"
    decides_program: bool = True


def _option(default: Any, check: Check, help: str, **facts: Any) -> Any:  # noqa: A002  as argparse calls it
    return field(default=default, metadata={"option": Option(check, help, **facts)})


def _words(*words: str) -> Check:
    def accept(value: Any) -> str:
        require(isinstance(value, str) and value in words)
        return str(value)

    return Check(accept, ", ".join(words), repr(words[0]))


def _target(value: Any) -> str:
    require(isinstance(value, str))
    row_of(value)
    return str(value)


def _text(value: Any) -> str:
    require(isinstance(value, str | PathLike))
    return str(value)


def _axis_letters(value: Any) -> str:
    require(isinstance(value, str) and bool(value))
    return str(value)


_letters = Check(_axis_letters, "an axis order", "'BSSC'")


@dataclass(frozen=True, kw_only=True)
class CompileOptions:
    """How a network is compiled, checked; `gncodegen.compile` makes it and hands it down the whole path.

    Raises:
        OptionsError: an option is out of range, or two do not go together; names the cure.
        TargetError: there is no such target.
    """

    target: str = _option(
        "cpu",
        Check(_target, '"cpu", "cuda" or an architecture', "'cpu'"),
        '"cpu"; "cuda", the GPU here, and "cuda:1" the next one; or an architecture "sm_75" … "sm_120", whose kernels '
        "are compiled for inspection on any machine",
    )
    batch_size: int = _option(
        32,
        integer_from(1, "a positive int", "32"),
        "observations that kernels are tuned for; every call takes any number",
        given_by="compile",
    )
    training: bool = _option(
        True,
        flag,
        "whether a training step is compiled; loss and gradients are then those of training",
        given_by="compile",
    )
    dtype: str = _option(
        "float32",
        _words("float32", "float64", "bfloat16", "float16"),
        '"float32" or "float64", of activations and parameters; "bfloat16" or "float16", in which activations and '
        "their gradients are stored, while parameters, sums and results are float32",
    )
    data_format: str | None = _option(
        None,
        optional(_letters),
        'axis order of the arrays handed in, such as "BCSS"; letters an array lacks are skipped; None = "BSSC", '
        '"BTC", "BSSSC" or "BC" for layer arrays, the source\'s own order for imported graphs',
    )
    seed: int = _option(
        0,
        integer_from(0, "an int, 0 or more", "0"),
        "fixes initial values and dropout",
        given_by="compile",
        decides_program=False,
    )
    emulate: bool = _option(
        False,
        flag,
        "run the kernels of an architecture in the PTX emulator, on the CPU, with every access checked",
        decides_program=False,
    )
    math: str = _option(
        "float32",
        _words(*MATH),
        'how convolutions and fully connected layers multiply on a GPU: "float32", or on tensor cores "tf32" (10 bits '
        'of mantissa) or "bf16" (7 bits); sums are float32',
    )
    precise: bool = _option(
        False,
        flag,
        "on the CPU, 3×3 convolutions by Winograd's F(2×2) only, with a fifth of the rounding error of the faster "
        "F(4×4); float32 on a GPU always is as precise",
    )
    tune: bool = _option(
        False,
        flag,
        "on the CPU, time the few kernels that the cost model likes best, take the fastest, and remember it in the "
        "cache directory; results keep their bits, whatever is taken",
    )
    override: str = _option(
        "",
        Check(_text, "a folder's path", "'overrides'"),
        "a folder of kernels that were edited after `gncodegen edit`; each is checked against the generated one in "
        "float64 before it is used; empty = GNCODEGEN_OVERRIDE",
        decides_program=False,
    )
    solver: str = _option("sgdm", _words(*SOLVERS), "of the training step", given_by="training options")
    clip: str = _option(
        "none",
        _words("none", "l2norm", "global-l2norm", "absolute-value"),
        'gradient_threshold_method, "none" for an infinite threshold',
        given_by="training options",
    )

    bucket_size: int = _option(
        0,
        integer_from(0, "an int, 0 or more", "0"),
        "bytes of gradients that ranks average at once; 0 for one rank",
        given_by="training options",
    )
    synchronize_batch_normalization: bool = _option(
        False,
        flag,
        "whether the training step's batch norms take statistics over all ranks",
        given_by="training options",
    )

    def __post_init__(self) -> None:
        freeze(type(self), OptionsError, "options of a network that is compiled", "write compile(…, {name}={value})")
        for each in fields(self):
            check, given = option(each).check, getattr(self, each.name)
            try:
                canonical = check.accept(given)
            except (ValueError, TypeError, OverflowError) as error:
                if isinstance(error, OptionsError):
                    raise
                cure = f"write {each.name}={check.example}"
                allowed = check.allowed_instead_of(given)
                raise OptionsError(f"{each.name} = {shown(given)}; allowed: {allowed}; {cure}") from None
            object.__setattr__(self, each.name, canonical)
        self._check_together()

    def _check_together(self) -> None:
        check(self)
        if self.precise and self.math != "float32":
            raise OptionsError(
                f"precise = True with math = {self.math!r}; allowed: math='float32', which has no shortcut on a GPU; "
                "write math='float32' or leave precise out"
            )

    def of_function(self, function: str, batch_size: int, data_format: str) -> CompileOptions:
        """The options of one function: those of training steps are the defaults in all others, whose Programs are one.

        Args:
            function: as Specification.function.
            batch_size: observations per run.
            data_format: axis order of the arrays that a run takes.
        """
        steps = {} if function in STEPS else _defaults("training options")
        # A batch of another size, such as the last of an epoch, is not worth the time that measuring takes.
        tune = self.tune and batch_size == self.batch_size
        return replace(self, batch_size=batch_size, data_format=data_format or None, tune=tune, **steps)

    @property
    def array_dtype(self) -> str:
        """Of parameters, and of the arrays that functions take and return."""
        return computed_in(self.dtype)

    @property
    def scales_loss(self) -> bool:
        """Whether training steps scale the loss."""
        return self.dtype in SCALED

    @property
    def deciding(self) -> dict[str, Any]:
        """The options that Programs depend on; a key of the cache."""
        return {each.name: getattr(self, each.name) for each in fields(self) if option(each).decides_program}

    @property
    def of_machine(self) -> dict[str, Any]:
        """The options that are facts of the machine that kernels are planned for, by their names there."""
        names = {each.name for each in fields(Machine)} - {"target"}
        return {name: value for name, value in asdict(self).items() if name in names}


def option(of: Field[Any]) -> Option:
    """What belongs to a field of CompileOptions."""
    return of.metadata["option"]


def chosen_by(*who: GivenBy) -> tuple[Field[Any], ...]:
    """The fields that some of those choose."""
    return tuple(each for each in fields(CompileOptions) if option(each).given_by in who)


def _defaults(who: GivenBy) -> dict[str, Any]:
    return {each.name: each.default for each in chosen_by(who)}


def takes_options(*who: GivenBy) -> Callable[[F], F]:
    """Decorator of a function with `**choices`: it takes the options that those choose, by name, and no others.

    Its signature and its docstring name them, with their help texts.
    """

    def decorate(function: F) -> F:
        @wraps(function)
        def checked(*arguments: Any, **named: Any) -> Any:
            for name in named:
                if name not in known:
                    cure = keyword_cure(name, known)
                    raise OptionsError(f"{name}: no such option; allowed: {', '.join(known)}; {cure}")
            return function(*arguments, **named)

        signature, taken = inspect.signature(function), chosen_by(*who)
        own = [each for each in signature.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
        more = [
            inspect.Parameter(each.name, inspect.Parameter.KEYWORD_ONLY, default=each.default, annotation=each.type)
            for each in taken
            if each.name not in signature.parameters
        ]
        known = [each.name for each in (*own, *more)]
        lines = "\n".join(
            fill(f"{each.name}: {option(each).help}.", 108, initial_indent=" " * 8, subsequent_indent=" " * 12)
            for each in taken
        )
        checked.__doc__ = re.sub(r"^ +choices: .*$", lambda _: lines, function.__doc__ or "", flags=re.MULTILINE)
        checked.__signature__ = signature.replace(parameters=[*own, *more])  # pyright: ignore[reportAttributeAccessIssue]
        return cast("F", checked)

    return decorate
