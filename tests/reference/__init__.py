"""The float64 NumPy oracle: every layer's forward and gradient, written to be read, sharing no code with the product.

Each operation returns `(y, backward)`; `backward(dy)` returns one gradient per array operand, in operand order.
Arrays are channel-last with the batch first unless an operation takes a `data_format`.
"""

from reference.elementwise import elementwise
from reference.finite import directional_error, numeric_gradient
from reference.losses import cross_entropy, half_squared_error, one_hot
from reference.movement import crop, depth_to_space, space_to_depth
from reference.network import Node, ReferenceNetwork, ReferenceSequences
from reference.normalization import (
    batch_norm,
    channel_normalize,
    group_norm,
    input_normalization,
    instance_norm,
    layer_norm,
    local_response,
    masked_batch_norm,
    masked_group_norm,
    running_statistics,
)
from reference.pointwise import (
    activation,
    addition,
    depth_concatenation,
    dropout,
    dropout_mask,
    fully_connected,
    matrix_product,
    relu,
    softmax,
)
from reference.resizing import resize
from reference.solvers import SOLVERS, Adam, RmsProp, Sgdm, Solver, clip_gradients, learn_rate
from reference.storage import STEP, rounded, stored
from reference.windows import (
    average_pool,
    convolution,
    each_step,
    global_average_pool,
    global_max_pool,
    max_pool,
    pad,
    same_padding,
    transposed_convolution,
)

__all__ = [
    "SOLVERS",
    "STEP",
    "Adam",
    "Node",
    "ReferenceNetwork",
    "ReferenceSequences",
    "RmsProp",
    "Sgdm",
    "Solver",
    "activation",
    "addition",
    "average_pool",
    "batch_norm",
    "channel_normalize",
    "clip_gradients",
    "convolution",
    "crop",
    "cross_entropy",
    "depth_concatenation",
    "depth_to_space",
    "directional_error",
    "dropout",
    "dropout_mask",
    "each_step",
    "elementwise",
    "fully_connected",
    "global_average_pool",
    "global_max_pool",
    "group_norm",
    "half_squared_error",
    "input_normalization",
    "instance_norm",
    "layer_norm",
    "learn_rate",
    "local_response",
    "masked_batch_norm",
    "masked_group_norm",
    "matrix_product",
    "max_pool",
    "numeric_gradient",
    "one_hot",
    "pad",
    "relu",
    "resize",
    "rounded",
    "running_statistics",
    "same_padding",
    "softmax",
    "space_to_depth",
    "stored",
    "transposed_convolution",
]
