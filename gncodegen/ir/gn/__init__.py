"""The gn dialect: networks as pure ops on tensors. Forward, pointwise, gradient and update ops."""

from xdsl.ir import Dialect

from gncodegen.ir.gn.base import CLIPS, Cotangents, GnOperation
from gncodegen.ir.gn.elementwise import ELEMENTWISE
from gncodegen.ir.gn.folded import FoldedParameters
from gncodegen.ir.gn.forward import PARAMETRIC
from gncodegen.ir.gn.gradient import GRADIENTS
from gncodegen.ir.gn.masked import MASKED
from gncodegen.ir.gn.matrices import MatrixProduct
from gncodegen.ir.gn.pointwise import POINTWISE, Loss
from gncodegen.ir.gn.sparse import SparseProduct
from gncodegen.ir.gn.storage import STORAGE
from gncodegen.ir.gn.transposed import TransposedConvolution
from gncodegen.ir.gn.update import HYPERPARAMETERS, NORM_CLIPS, UPDATES

OPERATIONS: dict[str, type[GnOperation]] = {
    operation.name.removeprefix("gn."): operation
    for operation in (
        *PARAMETRIC,
        TransposedConvolution,
        FoldedParameters,
        *POINTWISE,
        SparseProduct,
        MatrixProduct,
        *ELEMENTWISE,
        *MASKED,
        *GRADIENTS,
        *UPDATES,
        *STORAGE,
    )
}
"""Op name without "gn." → class."""

GN = Dialect("gn", list(OPERATIONS.values()))

__all__ = [
    "CLIPS",
    "GN",
    "HYPERPARAMETERS",
    "NORM_CLIPS",
    "OPERATIONS",
    "Cotangents",
    "GnOperation",
    "Loss",
]
