"""The section "interop" of bench/gpu.py: the public functions on a GPU, and arrays and streams of other libraries."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.gpu_rows import TOLERANCE, Case, Row, Session, checked, difference
from bench.zoo import ZOO
from gncodegen.environment import environment

if TYPE_CHECKING:
    import gncodegen as gnc


class Interop:
    """The bundle's network `used`, compiled for the GPU that is here from cubins that were brought."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._specimen = next(each for each in ZOO if each.name == session.bundle.used)
        self._values = session.bundle.arrays(session.bundle.used)

    @cached_property
    def compiled(self) -> gnc.Compiled:
        """The network, with the kernels of the bundle."""
        self._session.bundle.lend_kernels()
        return self._specimen.compile(target="cuda")

    @property
    def x(self) -> np.ndarray:
        """Its observations."""
        return self._specimen.data(self.compiled)[0]

    def cases(self) -> Iterator[Case]:
        """The section's rows."""
        yield Case("compile, host arrays", lambda: self._close(self.compiled.predict(self.x)))
        yield Case("arrays of ours", lambda: self._close(self.compiled.predict(self._session.on_gpu(self.x)).numpy()))
        yield Case("stream() of cuda.core", self._stream)
        for name in ("torch", "cupy"):
            yield Case(f"arrays of {name}", partial(self._of_library, name, self._arrays))
            yield Case(f"stream() of {name}", partial(self._of_library, name, self._library_stream))
        yield Case("train_network", self._train)
        yield Case("compiled here", self._compiled_here)

    def _close(self, found: np.ndarray) -> Row:
        return checked(difference(np.asarray(found), self._values["predict: output y"]), TOLERANCE["float32"])

    def _stream(self) -> Row:
        with self.compiled.stream(self._session.gpu.device.create_stream()):
            return self._close(self.compiled.predict(self.x))

    def _of_library(self, name: str, use: Callable[[Any], Row]) -> Row:
        """A row that a library which is not here, or sees no GPU, leaves empty."""
        if not self._session.peers:
            return {"left out": "--skip-peers"}
        try:
            library = __import__(name)
            if not library.cuda.is_available():
                return {"left out": f"{name} sees no GPU"}
        except ImportError:
            return {"left out": f"{name} is not here"}
        return use(library)

    def _given(self, library: Any) -> Any:
        return library.from_numpy(self.x).cuda() if library.__name__ == "torch" else library.asarray(self.x)

    def _arrays(self, library: Any) -> Row:
        y = self.compiled.predict(self._given(library))
        found = library.from_dlpack(y)
        if library.__name__ == "torch":
            return self._close(found.cpu().numpy())
        assert (library.asarray(y) == found).all()
        return self._close(library.asnumpy(found))

    def _library_stream(self, library: Any) -> Row:
        x = self._given(library)
        theirs = library.cuda.Stream() if library.__name__ == "torch" else library.cuda.Stream(non_blocking=True)
        library.cuda.synchronize() if library.__name__ == "torch" else library.cuda.Device().synchronize()
        with self.compiled.stream(theirs):
            y = self.compiled.predict(x)
        return self._close(y.numpy())

    def _train(self) -> Row:
        self._session.bundle.lend_kernels()
        found = self._specimen.train("cuda").training_loss
        return checked(difference(found, self._values["training loss"]), TOLERANCE["float32"])

    def _compiled_here(self) -> Row:
        """How many kernels were not in the bundle: GPUs with other figures than the example's have others."""
        return {"kernels": len(list(Path(environment().cache_dir).rglob("*.ptx")))}
