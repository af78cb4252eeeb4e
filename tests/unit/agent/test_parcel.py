"""A hostile source's offer: it is no parcel, or a parcel that stays inside the root."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.agent import names, parcel
from orchestrator.agent.log import FOLDER
from orchestrator.agent.wire import Garbled

_LEAF = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(
        [
            "",
            "..",
            "../x",
            "/etc",
            "a/../b",
            ".mailmirror/store.json",
            "a",
            "1.M1P1.host",
            ":2,S",
            "x\0y",
            "a/b",
            "\u20ac",
        ]
    )
)
_JSON = st.recursive(
    _LEAF,
    lambda inner: st.lists(inner, max_size=12) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=30,
)
_SMALL = st.integers(-1, 4)
_FOLDER = st.tuples(_SMALL, _LEAF, _LEAF, st.booleans(), _SMALL, _SMALL, _SMALL).map(list)
_MESSAGE = st.tuples(_LEAF, _SMALL, _LEAF, *[_SMALL] * 6, st.none() | _SMALL, _SMALL).map(list)
_REMOVAL = st.tuples(_SMALL, _SMALL, _LEAF, st.booleans(), st.booleans(), _LEAF).map(list)
_LIKE = st.fixed_dictionaries(
    {},
    optional={
        "folders": st.lists(_FOLDER | _JSON, max_size=4) | _JSON,
        "placements": st.lists(st.tuples(_SMALL, st.lists(_MESSAGE | _JSON, max_size=3)).map(list) | _JSON, max_size=3)
        | _JSON,
        "order": st.lists(_SMALL, max_size=3) | _JSON,
        "sidecars": st.lists(_JSON, max_size=3) | _JSON,
        "removals": st.lists(_REMOVAL | _JSON, max_size=4) | _JSON,
    },
)


@pytest.mark.issue("2.P hostile names")
@given(_JSON | _LIKE)
def test_any_json_is_refused_or_stays_inside(value: Any) -> None:
    try:
        found = parcel.parse(value, 10)
    except Garbled:
        return
    for folder in found.folders:
        _inside(folder.path)
        _inside(folder.account)
    for message in found.messages:
        names.check_component(message.base + message.info)
    for _, row in found.sidecars:
        names.check_component(row.name)
    for removal in found.removals:
        if removal.what == FOLDER:
            assert removal.name == b""
        else:
            names.check_component(removal.name)


def _inside(path: bytes) -> None:
    if path:
        names.check_path(path)
        assert path.split(b"/")[0] != names.STATE_DIR
