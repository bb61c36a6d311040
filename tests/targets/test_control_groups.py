"""The memory that control groups give, read from files as Linux writes them."""

from __future__ import annotations

import pytest
from support import control_groups

from gncodegen.targets.control_groups import memory


@pytest.mark.parametrize(
    ("groups", "files", "most"),
    [
        ("0::/\n", {"memory.max": "1048576\n"}, 1 << 20),
        ("0::/\n", {"memory.max": "max\n"}, None),
        ("0::/\n", {}, None),
        ("0::/a.slice/b\n", {"a.slice/memory.max": "4096\n", "a.slice/b/memory.max": "8192\n"}, 4096),
        ("0::/docker/outside\n", {"memory.max": "65536\n"}, 65536),
        ("7:memory:/x\n4:cpu:/\n", {"memory/x/memory.limit_in_bytes": "4096\n"}, 4096),
        ("7:memory:/\n", {"memory/memory.limit_in_bytes": "9223372036854771712\n"}, 9223372036854771712),
        ("4:cpu:/\n", {"memory/memory.limit_in_bytes": "4096\n"}, None),
    ],
)
def test_memory(tmp_path, groups, files, most):
    assert memory(control_groups.write(tmp_path, groups, files)) == most


def test_no_control_groups(tmp_path):
    assert memory(tmp_path) is None
