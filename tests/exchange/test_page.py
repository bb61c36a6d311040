"""docs/exchange.md is written from the tables of import and export; `pytest --update-golden` writes it anew."""

from __future__ import annotations

from pathlib import Path

import pytest
from exchange.test_sklearn_checks import APART

from gncodegen.exchange.exporting import FORMATS, Format
from gncodegen.exchange.onnx.operations import LAYERS, OPERATIONS
from gncodegen.exchange.onnx.operations.elementwise import ACTIVATIONS
from gncodegen.exchange.onnx.reading import FLOATS, OLDEST_OPSET
from gncodegen.exchange.operators import OPERATORS
from gncodegen.exchange.patterns import PATTERNS
from gncodegen.exchange.torch.operators import OPERATORS as ATEN

C_PROGRAM = """
#include <stdio.h>
#include <stdlib.h>
#include "net.h"

int main(void) {
    float *x = malloc(4 * NET_BATCH * NET_X_SIZE), *y = malloc(4 * NET_BATCH * NET_Y_SIZE);
    void *workspace = malloc(NET_WORKSPACE_SIZE);
    for (long n; (n = fread(x, 4 * NET_X_SIZE, NET_BATCH, stdin)) > 0;) {
        net_predict(x, y, n, workspace);
        fwrite(y, 4 * NET_Y_SIZE, n, stdout);
    }
    return 0;
}
"""

PAGE = Path(__file__).parents[2] / "docs" / "exchange.md"


def chosen(row: Format) -> str:
    """The options of a format."""
    return "; ".join(f"`{name}`: {text}" for name, text in row.options.items())


def written() -> str:
    """The page."""
    patterns = ", ".join(sorted({pattern.becomes for pattern in PATTERNS}))
    lines = [
        "# Models of other frameworks",
        "",
        "## ONNX in: `gnc.from_onnx(model, shapes=None)`",
        "",
        f"Opset {OLDEST_OPSET} and newer, arrays of {' and '.join(FLOATS)}, and whole numbers as places of a Gather.",
        "The first axis is that of observations, and prediction takes any number of them.",
        "Weights must be constants of the model. What follows from constants is computed when the model is imported.",
        "An initializer that several layers have as their weights, in any order of axes, is one parameter.",
        "An operator or an attribute that no layer covers is an error that lists every such node.",
        "Calls of a model's own functions, and operators outside the table that ONNX defines by others, such as",
        "RMSNormalization, MeanVarianceNormalization and RotaryEmbedding, become what these compute.",
        "",
        f"Subgraphs that exporters write for one layer become that layer again: {patterns}.",
        "",
        "| operator | becomes |",
        "|---|---|",
        *(f"| {name} | {row.becomes} |" for name, row in sorted(OPERATORS.items())),
        "",
        "## PyTorch in: `gnc.from_torch(module, example_inputs)`",
        "",
        "Through `torch.export`: functional ATen operators, no further decompositions. Each is said in operators of",
        "the table above, so what one becomes is the same from both sides, and the same subgraphs become layers.",
        "",
        "- Arrays keep the module's order of axes, such as (N, C, H, W). The example's number of observations is not",
        "  kept, and one array of weights that is read in several places stays one parameter.",
        "- Layers are called after the modules that compute them: `layer1.0.conv1`, its parameters",
        "  `layer1.0.conv1.weights`.",
        "- In training mode dropout is a layer; in evaluation mode it is gone. Batch norms are layers in both:",
        "  compiled for training they take the statistics of the batch.",
        "- Parameters that `requires_grad` is not set for, and buffers, are not learned.",
        "- What a module computes from parameters alone, as weight norm does, is computed once: the result is learned",
        "  where it is a layer's weights, and else a constant. One warning names these parameters.",
        "- `nn.Embedding` is a product with rows that have a 1 each, so its time grows with the table. The row of",
        "  `padding_idx` is learned as the others are.",
        "- A module that computes along its first axis, as one that takes (T, N, C), is taken as one observation of",
        "  the example's shapes, and a warning says why.",
        "- `F.local_response_norm` comes as its parts, not as LRN; `torch.logsumexp` as ReduceLogSumExp, in its stable",
        "  form. `F.pixel_unshuffle` is a SpaceToDepth whose channels are numbered column-first (mode CRD), which",
        "  only DepthToSpace has in ONNX.",
        "",
        "## PyTorch out: `compiled.as_torch_module()`, `gnc.to_state_dict(net, module)`",
        "",
        "- `as_torch_module()` runs the network's kernels under autograd, forward and backward, on the CPU, or with",
        "  target='cuda' on the GPU in torch's current stream. Dense tensors of the compiled dtype are read where they",
        "  are (DLPack). The backward pass computes the forward one again.",
        "- Its parameters and buffers are the network's own memory, called `layer1/weights` since torch allows no dot:",
        "  what an optimizer or `load_state_dict` changes, `compiled.parameters` shows, and the other way round.",
        "- In training mode dropout drops, with a mask of the network's own generator, and batch norms take the",
        "  batch's statistics. The running variance is that of the population; torch's is n / (n - 1) larger.",
        "- `compiled.vjp(x, dy)` is the same without torch: outputs, and gradients of Σ dy·y by name.",
        "- `to_state_dict` writes parameters and running statistics into a module of the kind that the network was",
        "  imported from, under its names and in its layouts. It is the exact inverse of `from_torch`.",
        "",
        "## ATen operators",
        "",
        "| ATen operator | said as |",
        "|---|---|",
        *(f"| {name} | {', '.join(row.operators)} |" for name, row in sorted(ATEN.items())),
        "",
        '## ONNX out: `compiled.export("net.onnx", opset=21, data_format="")`',
        "",
        "A model for prediction, with the values of now, accepted by `onnx.checker`; it computes what `predict` does.",
        "It takes and gives the arrays that `predict` takes and gives: an imported graph keeps its own order of axes,",
        'a layer array has channels last, and `data_format="BCSS"` makes a model with channels first. The axis of',
        "observations is free and called N. Inputs and outputs have the names of their layers; normalization of the",
        "input is part of the model, dropout does nothing. Between convolutions and norms no Transpose is left.",
        "",
        "A model that came in by `from_onnx` goes out and comes in again as the same layers with the same names and",
        "weights, bit for bit; learn rate and L2 factors lie in metadata. Without an axis of observations,",
        "or where an observation or one of its axes is a single number, layers that only reshape may differ.",
        "Names of classes lie in the model's metadata, under `classes`, weights beyond 2 GB in `net.onnx.data`.",
        "A column-first SpaceToDepthLayer goes out as Reshape, Transpose, Reshape; Resize and LogSumExp go out as",
        "parts, a MatMul by a constant matrix among them, and come in as the layers of those.",
        "What ONNX cannot say is an error that lists every such layer; then nothing is written.",
        "",
        "| operation of a layer | becomes |",
        "|---|---|",
        *(f"| {name} | {row.becomes} |" for name, row in sorted(OPERATIONS.items())),
        *(f"| activation {name} | {row.becomes} |" for name, row in sorted(ACTIVATIONS.items())),
        *(f"| {kind.__name__} | {row.becomes} |" for kind, row in LAYERS.items()),
        "",
        "On the command line: `gncodegen compile model.onnx --export net.onnx`.",
        "",
        '## Files that stand alone: `compiled.export("net.py")`, `"net/"`, `"net.o"`, `"net.so"`',
        "",
        "Prediction with the values of now, compiled for the CPU, for any number of observations; several inputs and",
        "outputs in the order of `predict`. The arrays are those of `predict` with the axis of observations first.",
        "The results have the bits of `predict`.",
        "",
        "| path | becomes | options |",
        "|---|---|---|",
        *(f"| `net{ending or '/'}` | {row.becomes} | {chosen(row)} |" for ending, row in FORMATS.items()),
        "",
        "- `net.py` holds the kernels, the intrinsics that they use, the list of launches, and nothing else; its",
        "  weights are `net.npz`. `import net; net.predict(x)`, or `python net.py x.npy y.npy`. Its kernels are",
        "  compiled for the CPU that it runs on, at the first prediction, and run on NUMBA_NUM_THREADS threads.",
        "- With `training=True` it has steps of the solver, too: `loss = net.train_step(x, t)` for mini-batches of the",
        "  compiled batch size, with the bits of `Compiled.train_step`, from where the network and its solver are now.",
        '  `net.NETWORK.hyperparameters["learn_rate"] = 1e-3` between steps; `net.NETWORK.save("net.npz")` keeps all.',
        "- `net.o` and `net.so` export two functions, which `net.h` declares with the sizes of all arrays:",
        "  `net_predict(x, y, n, workspace)` on the calling thread, and `net_predict_on(…, loop, context)`, whose",
        "  tiles the caller's own parallel loop runs. `net` is the file's name. They need the C library and libm,",
        "  allocate nothing, and may run on several threads with a workspace each.",
        '- `cpu="x86-64-v3"` names the CPU of an object, of which this computer must be a kind. A library is linked by',
        "  the system's C compiler; an object needs none.",
        "- A part of a batch takes the time of that part. `net.py` normalizes inputs of wide types, such as float64,",
        "  in float64 as `predict` does.",
        "- On the command line options stand behind the file: `--export net.so cpu=x86-64-v3`.",
        "- `import net` finds a `net.so` before a `net.py`: let them have different names or folders.",
        "- A normalization that is a Python function, networks without an axis of observations, arrays with that axis",
        "  elsewhere than first, and files for C of networks for a GPU are refused by name.",
        '- With `target="cuda"` or an architecture such as `"sm_90"`, `net/` holds cubins, `manifest.json` (buffers,',
        "  and launches) and a loader of 120 lines that needs cuda.core and NumPy: `net.predict(x)` with host arrays.",
        "",
        "From PyTorch to C, each step one line. For a ResNet-20 with group norms all agree within 2.4e-7 of the",
        "largest logit, and all but PyTorch and ONNX Runtime have the same bits:",
        "",
        "```python",
        "compiled = gnc.compile(gnc.from_torch(module, torch.zeros(1, 3, 32, 32)), training=False, batch_size=8)",
        'compiled.export("net.onnx")',
        'onnxruntime.InferenceSession("net.onnx").run(None, {name: x})  # name: that of the input layer',
        'gnc.compile(gnc.from_onnx("net.onnx"), training=False, batch_size=8).export("alone.py")',
        "```",
        "",
        "```sh",
        "python alone.py x.npy y.npy                                    # where there are only numba and numpy",
        "gncodegen compile net.onnx --batch-size 8 --export net.so && cc main.c ./net.so -o main && ./main < x > y",
        "```",
        "",
        "```c",
        *C_PROGRAM.strip().splitlines(),
        "```",
        "",
        "## scikit-learn: `gnc.NetworkClassifier(layers)`, `gnc.NetworkRegressor(layers)`",
        "",
        "Estimators as scikit-learn has them: `clone`, `pickle`, pipelines, `GridSearchCV` with several jobs, data",
        "frames with their feature names, `partial_fit`, `warm_start`, `early_stopping` by `validation_fraction`.",
        "",
        "- `layers` is what lies between X and y: an array, to which an input layer and the last layers are added",
        "  where it has none, a whole network, or a callable that makes one from the size of an observation and the",
        "  number of outputs. None is two fully connected layers of 64 with group norms.",
        "- `fitted.net_` is the `TrainedNetwork`, `fitted.info_` the course of its training.",
        "- Responses need not be scaled: the layer that is added for y starts at its mean and learns at its scale.",
        "- One class per observation; `sample_weight` is not taken, class weights stand in a ClassificationLayer.",
        "",
        "scikit-learn's `check_estimator` passes for both; these checks are run in another way:",
        "",
        "| check | reason |",
        "|---|---|",
        *(f"| {name} | {reason} |" for name, reason in APART.items()),
        "",
    ]
    return "\n".join(lines)


def test_the_page_is_that_of_the_tables(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--update-golden"):
        PAGE.write_text(written(), encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == written()
