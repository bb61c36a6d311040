"""gncodegen: a compiler for small networks, from layer array to trained network.

Public names stand in __init__.pyi and load on first use, so that `import gncodegen` stays light.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
