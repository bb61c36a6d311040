"""gncodegen: a compiler for small networks, from layer array to trained network.

Public names stand in __init__.pyi and load on first use, so that `import gncodegen` stays light.
"""

from pathlib import Path

import lazy_loader

if not Path(__file__).is_file():
    from gncodegen.errors import TargetError

    raise TargetError(
        f"{__file__} lies in an archive, from which no templates and sources are read; allowed: gncodegen in a folder; "
        "unpack the archive, or install gncodegen with pip"
    )

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
