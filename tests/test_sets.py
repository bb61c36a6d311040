"""The default run touches what the full run does: whatever is left to --full has one like it that stays."""

from __future__ import annotations

import pytest
from support.sets import LEFT_OUT, group


def test_something_like_every_full_test_stays(request: pytest.FixtureRequest) -> None:
    left_out = request.config.stash[LEFT_OUT]
    alone = {group(item) for item in left_out} - {group(item) for item in request.session.items}
    assert not alone, "only --full runs these; leave one case of each unmarked"
