"""Networks that others published, as the package onnx has them, beside ONNX Runtime: time to bring in, time of a call.

python bench/light_models.py [--only TEXT] [--batches 1,8] [--rounds 5] [--threads 2]

Weights are made up; what a network costs does not depend on them. "cold" is import, compilation and the first
prediction with an empty cache; "warm" is the same again.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

from networks import Call, measure, onnx_session
from record import save


def _prediction(path: Path, batch: int) -> tuple[Call, float]:
    """Our call, and the seconds until it was ready."""
    import gncodegen as gnc

    began = perf_counter()
    compiled = gnc.compile(gnc.from_onnx(path), training=False, batch_size=batch)
    (entry,) = compiled.network.inputs
    x = _images((batch, *entry.size.shape))
    compiled.predict(x)
    return lambda: compiled.predict(x), perf_counter() - began


def _images(shape: tuple[int, ...]) -> Any:
    import numpy as np

    return np.random.default_rng(0).random(shape, np.float32)


def _in_onnx_runtime(path: Path, batch: int, threads: int) -> Call:
    """ONNX Runtime's call, of the model with its batch axis set free, also where it is reshaped."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load(path)
    own = {each.name for each in model.graph.initializer}
    (entry,) = (each for each in model.graph.input if each.name not in own)
    del model.graph.value_info[:]
    for each in (entry, *model.graph.output):
        each.type.tensor_type.shape.dim[0].dim_param = "N"
    shapes = {node.input[1] for node in model.graph.node if node.op_type == "Reshape"}
    for each in model.graph.initializer:
        if each.name in shapes and (shape := numpy_helper.to_array(each).copy())[0] == 1:
            shape[0] = 0  # as it comes in
            each.CopyFrom(numpy_helper.from_array(shape, each.name))
    session = onnx_session(model.SerializeToString(), threads)
    given = {entry.name: _images((batch, *(dim.dim_value for dim in entry.type.tensor_type.shape.dim[1:])))}
    session.run(None, given)
    return lambda: session.run(None, given)[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="models whose name contains this")
    parser.add_argument("--batches", default="1,8", help="observations of a call (default 1,8)")
    parser.add_argument("--rounds", type=int, default=5, help="measured rounds (default 5)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="threads of every contender")
    parser.add_argument("--no-save", action="store_true", help="do not write bench/results/<cpu>/light-models.json")
    given = parser.parse_args()
    os.environ["GNCODEGEN_THREADS"] = str(given.threads)
    import onnx.backend.test

    folder, rows = Path(onnx.backend.test.__file__).parent / "data" / "light", list[dict[str, Any]]()
    for path in sorted(each for each in folder.glob("light_*.onnx") if given.only in each.stem):
        with tempfile.TemporaryDirectory() as cache:
            os.environ["GNCODEGEN_CACHE_DIR"] = cache
            for batch in map(int, given.batches.split(",")):
                call, cold = _prediction(path, batch)
                _, warm = _prediction(path, batch)
                runtime = _in_onnx_runtime(path, batch, given.threads)
                calls = {"gncodegen": {"predict": call}, "ONNX Runtime": {"predict": runtime}}
                times = measure(calls, "predict", given.rounds)
                ratio = times["ONNX Runtime"] / times["gncodegen"]
                name = path.stem.removeprefix("light_")
                rows.append({"model": name, "batch": batch, "cold": cold, "warm": warm, "milliseconds": times})
                shown = "  ".join(f"{contender} {time:.1f} ms" for contender, time in times.items())
                print(
                    f"{name:20} batch {batch}  {ratio:.2f} ×  {shown}  cold {cold:.1f} s, warm {warm:.1f} s", flush=True
                )
    if not given.no_save:
        print(save("light-models", {"threads": given.threads, "rounds": given.rounds, "rows": rows}))


if __name__ == "__main__":
    main()
