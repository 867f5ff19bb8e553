"""Reconciling says what is missing at the service, what should not be open there, and what is still under way."""

from __future__ import annotations

from pipelines.database import Database
from pipelines.settings.config import ExchangeConfig
from pipelines.takedown.cases import fetch_open_keys
from pipelines.takedown.outbox import withdraw
from pipelines.takedown.receiver import Receiver
from pipelines.takedown.reconcile import Reconciliation, reconcile
from tests.pipelines.takedown.delivering import CONFIG, Clock, ScriptedClient, dispatch_once, enqueue, http_client, rows


def compare(database: Database, keys: set[str]) -> Reconciliation:
    with database.read() as connection:
        return reconcile(connection, keys)


def listed(receiver: Receiver) -> set[str]:
    url = receiver.url.replace("/takedowns", "/cases")
    return fetch_open_keys(url, config=CONFIG, head=ExchangeConfig())


def key_of(database: Database, item_id: str) -> str:
    return next(str(row.key) for row in rows(database) if (row.item_id, row.action) == (item_id, "takedown"))


def test_outbox_and_receiver_agree_after_delivery_and_withdrawal(
    database: Database, receiver: Receiver, clock: Clock
) -> None:
    for item in ("item-1", "item-2", "item-3"):
        enqueue(database, item)
    with http_client(receiver.url) as client:
        dispatch_once(database, client, clock)
        with database.write() as tx:
            withdraw(tx, item_id="item-2", reason="cleared", now=clock())
        underway = compare(database, listed(receiver))
        assert (underway.agrees, underway.unsettled) == (True, (key_of(database, "item-2"),))
        dispatch_once(database, client, clock)
    found = compare(database, listed(receiver))
    assert found == Reconciliation(wanted=2, missing=(), unexpected=(), unsettled=())
    assert found.agrees


def test_differences_are_named_by_key(database: Database, clock: Clock) -> None:
    enqueue(database, "lost there")
    enqueue(database, "kept there")
    dispatch_once(database, ScriptedClient(), clock)
    with database.write() as tx:
        withdraw(tx, item_id="kept there", reason="cleared", now=clock())
    dispatch_once(database, ScriptedClient(), clock)
    enqueue(database, "on its way")
    kept, on_its_way = key_of(database, "kept there"), key_of(database, "on its way")
    found = compare(database, {kept, on_its_way, "never ours"})
    assert not found.agrees
    assert found.missing == (key_of(database, "lost there"),)
    assert found.unexpected == tuple(sorted([kept, "never ours"]))
    assert found.unsettled == (on_its_way,)
