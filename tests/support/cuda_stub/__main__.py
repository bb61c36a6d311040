"""`python -m support.cuda_stub CACHE SCRIPT …` runs a script on the stub.

CACHE is a folder of gncodegen's that has the kernels' PTX; the process's own one keeps the stub's library.
"""

from __future__ import annotations

import gc
import runpy
import sys
from pathlib import Path

from gncodegen.environment import environment
from support.cuda_stub import library


def main() -> int:
    """Exit status 1 where the stub found something wrong."""
    cache, script, *rest = sys.argv[1:]
    if reason := library.missing():
        print(reason, file=sys.stderr)
        return 1
    folder = environment().cache_dir
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    driver = library.load(folder)
    driver.begin()
    driver.kernels.cache = Path(cache)
    sys.argv = [script, *rest]
    status = 0
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    gc.collect()
    driver.end()
    print(*driver.faults, sep="\n", end="", file=sys.stderr)
    return status or bool(driver.faults)


if __name__ == "__main__":
    sys.exit(main())
