"""What is used of numba-cuda stands in one file, and beside kernels of the user's own."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.targets import WITH_CUDA

from gncodegen.cache import files
from gncodegen.errors import TargetError
from gncodegen.kernels.store import Source
from gncodegen.targets.cuda.compile import compile_source

ROOT = Path(__file__).resolve().parents[3]
FILE = ROOT / "gncodegen" / "targets" / "cuda" / "numba_cuda.py"
pytestmark = WITH_CUDA


def test_no_other_file_takes_anything():
    import_of_it = re.compile(r"import_module\([\"']numba\.cuda|(from|import) numba\.cuda|from numba import .*\bcuda\b")
    found = [path for path in ROOT.glob("gncodegen/**/*.py") if import_of_it.search(path.read_text(encoding="utf-8"))]
    assert not found


def test_the_table_is_what_is_used():
    from gncodegen.targets.cuda.numba_cuda import USED

    taken = re.findall(r"_taken\(\s*\"([\w.]+)\", \"(\w+)\"", FILE.read_text(encoding="utf-8"))
    names = {(module, name) for module, names in USED.items() for name in names}
    assert set(taken) == names
    page = (ROOT / "docs" / "numba-cuda.md").read_text(encoding="utf-8")
    assert f"lists {len(names)} names of {len(USED)} modules" in page


def test_a_name_that_is_gone_is_a_sentence(monkeypatch):
    from gncodegen.targets.cuda import numba_cuda

    monkeypatch.setitem(numba_cuda.USED, "numba.cuda", ("grid_of_tomorrow",))
    with pytest.raises(TargetError, match=r"numba-cuda [\d.]+ has no numba\.cuda\.grid_of_tomorrow.*pip install"):
        numba_cuda._taken("numba.cuda", "grid_of_tomorrow")


KERNEL = """# op test · template none · target sm_90 · float32 · channel-last
THREADS = 64
from gncodegen.targets.cuda.intrinsics import *

def kernel(y, first):
    i = thread_index()
    while i < 1000:
        begin = i * 3
        pointer(y, uint32)[begin] = i + first
        i = i + 64
"""


def test_passes_that_are_left_out_change_nothing(tmp_path, monkeypatch):
    from gncodegen.targets.cuda import numba_cuda

    texts = []
    for name, idle in (("short", numba_cuda.IDLE), ("whole", ())):
        monkeypatch.setattr(numba_cuda, "IDLE", idle)
        path = tmp_path / f"{name}.py"
        files.write(path, KERNEL.encode())
        compile_source(path)
        texts.append(files.read(path.with_suffix(".ptx")).decode().replace(name, ""))
    assert texts[0] == texts[1]


BESIDE = """
import re, sys
from pathlib import Path
from numba import cuda, types
from gncodegen.targets.cuda.compile import compile_source

def own(a, n):
    i = cuda.grid(1)
    if i < n:
        a[i] = a[i] * 2.0 + i // 3

def compiled():
    ptx = cuda.compile_ptx(own, (types.float32[:], types.int32), cc=(9, 0))[0]
    return re.sub(r"B2v\\d+", "", ptx)

before = compiled()
compile_source(Path(sys.argv[1]))
assert compiled() == before
"""


def test_kernels_of_the_users_own_change_nothing(tmp_path):
    """Numba takes the first declaration that fits: the user's, where it was there first, made integers of indices."""
    for name in ("alone", "beside"):
        (tmp_path / name).mkdir()
        files.write(tmp_path / name / "by_hand.py", KERNEL.encode())
    compile_source(tmp_path / "alone" / "by_hand.py")
    command = [sys.executable, "-c", BESIDE, str(tmp_path / "beside" / "by_hand.py")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
    alone, beside = (Source(tmp_path / name / "by_hand.py").read(".ptx").decode() for name in ("alone", "beside"))
    assert beside.replace("/beside/", "/alone/") == alone
