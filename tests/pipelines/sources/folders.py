"""Short ways to list and fetch a folder of files in the tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from embeddings.errors import ItemError
from pipelines.sources import FetchSettings, Item, ItemSource, open_source

SETTINGS = FetchSettings(timeout_seconds=5.0, allowed_hosts=(), allow_private_addresses=False)


def source_of(root: Path) -> ItemSource:
    return open_source(f"directory:{root}", settings=SETTINGS)


def items_of(root: Path) -> dict[str, Item]:
    items = list(source_of(root).items(None))
    by_id = {item.item_id: item for item in items}
    assert len(by_id) == len(items)
    return by_id


def reason_of(root: Path, item: Item, *, max_bytes: int = 1000) -> str:
    with pytest.raises(ItemError) as raised:
        source_of(root).fetch(item, max_bytes=max_bytes)
    return raised.value.status
