"""The place where a network runs, by the name of its target."""

from __future__ import annotations

from gncodegen.errors import OptionsError
from gncodegen.runtime.backend import Backend

MATH = ("float32", "tf32", "bf16")
"""How matrix products may multiply."""


def check(target: str, emulate: bool, math: str, dtype: str, precise: bool, tune: bool) -> None:
    """Checks that these choices, those of `gncodegen.compile`, go together.

    Raises:
        OptionsError: they do not; names the cure.
        TargetError: there is no such target.
    """
    if math not in MATH:
        raise OptionsError(f"math = {math!r}; allowed: {', '.join(MATH)}; write math='float32'")
    if target not in ("cpu", "cuda"):
        from gncodegen.targets.cuda.architectures import architecture  # noqa: PLC0415  the CPU needs none of CUDA

        architecture(target)
    if emulate and not target.startswith("sm_"):
        raise OptionsError(
            f"emulate = True with target {target!r}; allowed: with an architecture; write target='sm_90', emulate=True"
        )
    if math != "float32" and (target in ("cpu", "sm_75") or dtype != "float32"):
        given = f"target {target!r}" if dtype == "float32" else f"dtype {dtype!r}"
        raise OptionsError(
            f"math = {math!r} with {given}; allowed: float32 networks on target 'cuda' or 'sm_80' and later, whose "
            "tensor cores multiply so; write math='float32'"
        )
    for name, value in (("precise", precise), ("tune", tune)):
        if not isinstance(value, bool):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise OptionsError(f"{name} = {value!r}; allowed: True and False; write {name}=True")
    if precise and math != "float32":
        raise OptionsError(
            f"precise = True with math = {math!r}; allowed: math='float32', which has no shortcut on a GPU; "
            "write math='float32' or leave precise out"
        )
    if tune and target != "cpu":
        raise OptionsError(
            f"tune = True with target {target!r}; allowed: target 'cpu', whose kernels can be timed here; "
            "write target='cpu' or tune=False"
        )


def backend(target: str, emulate: bool = False, math: str = "float32", precise: bool = False) -> Backend:
    """A place to run.

    Args:
        target: "cpu", "cuda" (the GPU here) or an architecture such as "sm_90".
        emulate: run an architecture's kernels in the PTX emulator.
        math: "float32", "tf32" or "bf16".
        precise: as Machine.precise; on a GPU float32 always is.

    Raises:
        OptionsError: math="tf32" or "bf16" on a GPU without such tensor cores.
        TargetError: there is no such target, or no GPU, or it cannot be used.
    """
    # Each place is imported when it is asked for: a CPU needs none of CUDA's packages.
    if target == "cpu":
        from gncodegen.runtime.host_backend import HostBackend  # noqa: PLC0415

        return HostBackend(precise)
    from gncodegen.runtime.device_backend import DeviceBackend, InspectionBackend  # noqa: PLC0415
    from gncodegen.targets.cuda.target import CudaTarget  # noqa: PLC0415

    if target == "cuda":
        from gncodegen.targets.cuda.device.gpu import Gpu  # noqa: PLC0415

        gpu = Gpu()
        if math != "float32" and gpu.architecture == "sm_75":
            check(gpu.architecture, False, math, "float32", False, False)
        return DeviceBackend(CudaTarget(gpu.architecture, gpu.processors, gpu.l2, math), gpu)
    if not emulate:
        return InspectionBackend(CudaTarget(target, math=math))
    from gncodegen.targets.cuda.device.emulated import EmulatedDevice  # noqa: PLC0415

    return DeviceBackend(CudaTarget(target, math=math), EmulatedDevice())
