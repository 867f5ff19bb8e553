"""What people do with cases in the tests: take one, look at it, decide it, as a browser without scripts does."""

from __future__ import annotations

import json
import re

import sqlalchemy as sa

from pipelines.database import tables
from pipelines.home import audit
from pipelines.home.workspace import Workspace
from pipelines.reviewing.queue import waiting_cases
from tests.pipelines.web.visiting import Visitor


def begin(somebody: Visitor) -> str:
    """The address of the next case."""
    answer = somebody.post("/cases/next")
    assert answer.status_code == 303
    return str(answer.headers["location"])


def case_about(somebody: Visitor, workspace: Workspace, about: str) -> str:
    """The address of a case that somebody has claimed by hand."""
    with workspace.database.read() as connection:
        (case,) = (case for case in waiting_cases(connection, workspace) if case.key.about == about)
    assert somebody.post(f"/cases/{case.key.case_id}/claim").status_code == 303
    return f"/cases/{case.key.case_id}"


def hits_on(page: str) -> list[str]:
    return re.findall(r'data-hit="(hit_\w+)"', page)


def pictures_on(page: str) -> list[str]:
    return [found.replace("&amp;", "&") for found in re.findall(r'<img[^>]* src="([^"]+)"', page)]


def looks(workspace: Workspace, *actions: str) -> list[dict[str, str]]:
    wanted = actions or ("crop.view", "picture.view", "reference.view", "term.view")
    with workspace.database.read() as connection:
        audit.verify(connection, workspace.sealer)
        rows = connection.execute(sa.select(tables.audit).where(tables.audit.c.action.in_(wanted)))
        return [{"action": row.action, "actor": row.actor, **json.loads(row.facts)} for row in rows]


def decide(somebody: Visitor, address: str, word: str, *only: str, reason: str | None = None) -> str:
    """Answer and decide as a browser without scripts does; the address that it leads to."""
    fields = {"word": word, **({"only": list(only)} if only else {})}
    weighed = somebody.post(f"{address}/answer", fields)  # type: ignore[arg-type]
    assert weighed.status_code == 303
    there = str(weighed.headers["location"]) + (f"&reason={reason}" if reason else "")
    page = somebody.get(there).text
    expect = re.search(r'name="expect" value="(\w+)"', page)
    chosen = re.search(r'name="reason" value="(\w+)" checked', page)
    assert expect
    assert chosen
    done = somebody.post(f"{address}/decide", {**fields, "reason": chosen[1], "expect": expect[1]})  # type: ignore[arg-type]
    assert done.status_code == 303
    return str(done.headers["location"])
