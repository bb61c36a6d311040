"""Function forms of layers: one op on arrays, no network.

`groupnorm`, `instancenorm`, `layernorm`, `batchnorm`, `convolution`, `transposed_convolution`, `fullyconnect`,
`maxpool`, `avgpool`, `softmax`, `prelu`, `crossentropy`, `mse`, and each activation under the name of its layer:
`relu`, `leakyrelu(x, 0.1)`, `gelu(x, approximation="tanh")`. `vjp` and `gradient` differentiate them.
"""

from __future__ import annotations

from gncodegen.functional.form import Form, gradient, vjp
from gncodegen.functional.normalization import batchnorm, groupnorm, instancenorm, layernorm
from gncodegen.functional.pointwise import ACTIVATIONS, crossentropy, mse, prelu, softmax
from gncodegen.functional.windows import avgpool, convolution, fullyconnect, maxpool, transposed_convolution

__all__ = [
    "avgpool",
    "batchnorm",
    "convolution",
    "crossentropy",
    "fullyconnect",
    "gradient",
    "groupnorm",
    "instancenorm",
    "layernorm",
    "maxpool",
    "mse",
    "prelu",
    "softmax",
    "transposed_convolution",
    "vjp",
]


def __getattr__(name: str) -> Form[...]:
    if name in ACTIVATIONS:
        return ACTIVATIONS[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name)


def __dir__() -> list[str]:
    return sorted({*__all__, *ACTIVATIONS})
