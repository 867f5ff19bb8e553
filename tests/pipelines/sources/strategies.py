"""Metadata as an attacker might write it: known names, values of any type."""

from __future__ import annotations

import json

from hypothesis import strategies as st

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(
        ["1", "2", "a.png", "\x00", "\ud800", "2026-03-04", "0001-01-01T00:00+23:00", "https://h/x", "../a"]
    ),
)
VALUES = st.one_of(SCALARS, st.lists(SCALARS, max_size=2), st.dictionaries(st.text(max_size=2), SCALARS, max_size=2))
NAMES = st.sampled_from(
    [
        *("id", "kind", "parent_model", "uploader", "received_at", "title", "prompt", "tags", "trigger_words"),
        *("nsfw_level", "deleted", "path", "url", "sha256", "etag", "other"),
    ]
)
FIELDS = st.dictionaries(NAMES, VALUES, max_size=6)
OBJECTS = FIELDS.map(lambda fields: json.dumps(fields).encode())
DOCUMENTS = st.one_of(OBJECTS, st.binary(max_size=60))
