"""Whole processes on one cache: damaged, planted, read-only, without a home, killed, eight at once."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.sets import in_full

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import hashlib, logging, sys
import numpy as np, gncodegen as gnc
logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
layers = [
    gnc.FeatureInputLayer(8, normalization="none"), gnc.FullyConnectedLayer(3), gnc.SoftmaxLayer(),
    gnc.ClassificationLayer(),
]
net = gnc.compile(layers, batch_size=4)
x = np.random.default_rng(0).normal(size=(4, 8)).astype("f4")
for _ in range(3):
    net.train_step(x, [0, 1, 2, 0])
sources = "".join(kernel.source for kernel in net.kernels.values())
print(hashlib.sha256(net.predict(x).tobytes() + sources.encode()).hexdigest())
"""


def start(cache, script=SCRIPT, **environment):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GNCODEGEN_", "PYTEST"))}
    own = {"GNCODEGEN_CACHE_DIR": str(cache), "PYTHONPATH": str(ROOT), "NUMBA_NUM_THREADS": "1"} | environment
    full = {name: value for name, value in (kept | own).items() if value is not None}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", script], env=full, **pipes)


def result(process):
    said, log = process.communicate(timeout=300)
    assert process.returncode == 0, log[-3000:]
    return said.strip(), log


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    """(a cache with all that the script needs, what the script says)."""
    cache = tmp_path_factory.mktemp("cache") / "warm"
    said, _ = result(start(cache))
    return cache, said


@pytest.fixture
def cache(warm, tmp_path):
    """A copy of it."""
    shutil.copytree(warm[0], tmp_path / "cache", copy_function=shutil.copy2)
    (tmp_path / "cache").chmod(0o700)
    return tmp_path / "cache"


def files_of(cache):
    return sorted(path for path in cache.rglob("*") if path.is_file() and "locks" not in path.parts)


WAYS = {
    "empty": lambda whole, draw: b"",
    "zeroed": lambda whole, draw: bytes(len(whole)),
    "cut": lambda whole, draw: whole[: draw.randrange(len(whole))],
    "one bit": lambda whole, draw: flipped(whole, draw.randrange(max(1, len(whole) - 75))),
    "a line more": lambda whole, draw: whole + b"raise SystemExit('planted')\n",
}


def flipped(whole, index):
    return whole[:index] + bytes([whole[index] ^ 1]) + whole[index + 1 :] if whole else b"x"


@pytest.mark.full(like="cache/test_processes.py::test_each_damaged_kind_alone_is_made_anew")
@pytest.mark.parametrize("way", ["one bit", *(pytest.param(w, marks=pytest.mark.full) for w in WAYS if w != "one bit")])
def test_damaged_files_are_made_anew(warm, cache, way):
    draw, damaged = random.Random(way), files_of(cache)
    for path in damaged:
        path.write_bytes(WAYS[way](path.read_bytes(), draw))
    said, log = result(start(cache))
    assert said == warm[1]
    assert "is damaged" in log
    assert "Traceback" not in log
    said, log = result(start(cache))
    assert (said, "damaged" in log) == (warm[1], False)


@pytest.mark.parametrize("suffix", [".o", *in_full([".py", ".json"])])
def test_each_damaged_kind_alone_is_made_anew(warm, cache, suffix):
    for path in files_of(cache):
        if path.suffix == suffix:
            path.write_bytes(flipped(path.read_bytes(), path.stat().st_size // 3))
    said, _ = result(start(cache))
    assert said == warm[1]


def test_sources_are_shown_as_rendered_and_written_anew(warm, cache):
    kernels = {path: path.read_bytes() for path in files_of(cache) if path.suffix == ".py"}
    for path in kernels:
        path.write_text("raise SystemExit('planted')\n")
    said, log = result(start(cache))
    assert said == warm[1]
    written = [path for path, content in kernels.items() if path.read_bytes() == content]
    assert written, (log, sorted(path.name for path in kernels))
    for path in written:
        assert log.count(f"{path} is damaged") == 1
        assert "to edit a kernel, run `gncodegen edit`" in log


def test_a_read_only_warm_cache_without_a_home(warm, cache):
    before = {path: path.read_bytes() for path in files_of(cache)}
    for path in [cache, *cache.rglob("*")]:
        path.chmod(0o500 if path.is_dir() else 0o400)
    refuse = "import os\nopened = os.open\n"  # root may write everywhere
    refuse += f"inside = lambda p: os.fspath(p).startswith({str(cache)!r}) if p else False\n"
    refuse += "def deny(p, flags, *a, **k):\n    if inside(p) and flags & (os.O_WRONLY | os.O_RDWR):\n"
    refuse += (
        "        raise OSError(30, 'Read-only file system')\n    return opened(p, flags, *a, **k)\nos.open = deny\n"
    )
    refuse += (
        "access = os.access\nos.access = lambda p, m, **k: access(p, m, **k) and not (inside(p) and m & os.W_OK)\n"
    )
    said, log = result(start(cache, refuse + SCRIPT, HOME=None, XDG_CACHE_HOME=None))
    assert said == warm[1]
    assert "Traceback" not in log
    assert {path: path.read_bytes() for path in files_of(cache)} == before


@pytest.mark.full(like="cache/test_processes.py::test_a_read_only_warm_cache_without_a_home")
@pytest.mark.parametrize(
    "place", ["a file", "nobody's home", "odd", *(pytest.param(p, marks=pytest.mark.full) for p in ("no home", "~"))]
)
def test_odd_places(warm, tmp_path, place):
    if place == "nobody's home":
        said = start("~nobody of this name/cache").communicate()[1]
        assert "there is no such user's home; allowed: a folder; write its whole path" in said.splitlines()[-1]
        return
    if place == "a file":
        (tmp_path / "file").write_text("")
        process = start(tmp_path / "file")
        assert "is a file, or lies in one; allowed: a folder" in process.communicate()[1]
        return
    where = {"no home": None, "~": "~/cache", "odd": str(tmp_path / " b\n\u00fc")}[place]
    home = str(tmp_path / "none" / "home") if place == "no home" else str(tmp_path)
    process = start(where, HOME=home, XDG_CACHE_HOME=None, GNCODEGEN_COMPILE_WORKERS="2", GNCODEGEN_CACHE_DIR=where)
    assert result(process)[0] == warm[1]
    assert not Path("~").exists()


def test_a_full_disk_is_said_in_a_sentence(tmp_path):
    full = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (3000, -1))\n"
    # Python takes a .pyc that it wrote in part for done.
    unwritten = {"GNCODEGEN_COMPILE_WORKERS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    process = start(tmp_path / "cache", full + SCRIPT, **unwritten)
    said = process.communicate(timeout=300)[1]
    assert "CacheError: " in said.splitlines()[-1]
    assert "cannot be written: File too large; nor can" in said
    assert "allowed: folders with room; free some, or set GNCODEGEN_CACHE_DIR" in said
    assert not list(tmp_path.rglob("*.unfinished"))


def test_a_worker_that_dies_costs_nothing(warm, tmp_path):
    dying = "import gncodegen.targets.workers as w\n"
    dying += "w._START = 'import os; print(\"ready\", flush=True); input(); os._exit(9)'\n"
    process = start(tmp_path / "cache", dying + SCRIPT, GNCODEGEN_COMPILE_WORKERS="3")
    assert result(process)[0] == warm[1]


@pytest.mark.parametrize(
    "meanwhile",
    [
        "if calls == [1]: [p.unlink() for n in sources[:2] for p in n.path.parent.glob(n.path.stem + '.*')]",
        pytest.param("if len(calls) % 3 != 0: cleaning.clear()", marks=pytest.mark.full),
    ],
)
def test_files_that_are_removed_meanwhile_are_made_again(warm, cache, meanwhile):
    removing = "from gncodegen import lowering\nfrom gncodegen.cache import cleaning\n"
    removing += "from gncodegen.targets.cpu.target import CpuTarget\ncalls, real = [], CpuTarget.compile\n"
    removing += f"def late(self, sources):\n    calls.append(1)\n    {meanwhile}\n    return real(self, sources)\n"
    removing += "CpuTarget.compile = late\nlowering.clean_sometimes = cleaning.clear\n"
    said = SCRIPT.replace('sources = "".join(kernel.source for kernel in net.kernels.values())', "sources = ''")
    bare = start(cache, said)
    assert result(start(cache, removing + said))[0] == result(bare)[0]


@pytest.mark.parametrize("count", [3, pytest.param(8, marks=pytest.mark.full)])
def test_processes_compile_each_kernel_once(warm, tmp_path, count):
    counted = "from gncodegen.targets.cpu import compile as c\nreal = c.compile_source\n"
    counted += "def told(path):\n    print('compiled', path.name, file=sys.stderr)\n    real(path)\n"
    counted = "import sys\n" + counted + "c.compile_source = told\n"
    environment = {"GNCODEGEN_COMPILE_WORKERS": "1"}
    found = [
        result(each) for each in [start(tmp_path / "cache", counted + SCRIPT, **environment) for _ in range(count)]
    ]
    assert {said for said, _ in found} == {warm[1]}
    names = [line for _, log in found for line in log.splitlines() if line.startswith("compiled")]
    assert len(names) == len(set(names)) > 5


@pytest.mark.full(like="cache/test_processes.py::test_a_worker_that_dies_costs_nothing")
@pytest.mark.parametrize("count", [2, pytest.param(10, marks=pytest.mark.full)])
def test_killed_compilations_leave_a_usable_cache(warm, tmp_path, count):
    draw = random.Random(3)
    for _ in range(count):
        process = start(tmp_path / "cache")
        time.sleep(draw.uniform(0.5, 6))
        process.send_signal(signal.SIGKILL)
        process.communicate()
    said, log = result(start(tmp_path / "cache"))
    assert (said, "damaged" in log) == (warm[1], False)


def test_a_loaded_network_finds_the_programs_of_the_saved_one(warm, cache, tmp_path):
    saved = SCRIPT + f"net.save({str(tmp_path / 'net')!r})\n"
    result(start(cache, saved))
    refuse = "import gncodegen as gnc, gncodegen.passes.lower as lower\nlower.Lowering.program = None\n"
    loaded = f"{refuse}import numpy as np\nnet = gnc.load({str(tmp_path / 'net')!r})\n"
    result(start(cache, loaded + "net.predict(np.zeros((4, 8), 'f4'))"))
