"""Graphs of nodes as ComfyUI writes them into its pictures: ``prompt``, what was run, and ``workflow``, what was drawn.

Which text is excluded follows from the links: a text that reaches the picture only through inputs called negative is
none of what the picture was to show. What is said here holds for any node, because nobody knows all of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from embeddings.infotext.a1111 import read_prompt
from embeddings.infotext.fields import InfotextBuilder
from embeddings.infotext.roles import Role, enter, file_role, is_negative, role_of, walk
from embeddings.strict_json import pairs_of, values_at

_MOST_GRAPHS: Final = 200
_NOTES: Final = frozenset(("Note", "MarkdownNote"))
_SAMPLING: Final = re.compile(r"sampl|guider|decode", re.IGNORECASE)
_ENCODING: Final = "CLIPTextEncode"
"""How the kinds of nodes begin that have several texts of one prompt, and none that is excluded."""
_CHOICES: Final = frozenset(("none", "fixed", "randomize", "increment", "decrement", "enable", "disable"))
"""Values of a drawn node that are no text of anybody's."""


@dataclass(slots=True)
class _Node:
    """A node: its kind and title, its own values by name, and what its inputs are linked to."""

    kind: str
    title: str = field(repr=False)
    values: list[tuple[str, object]] = field(default_factory=list, repr=False)
    links: list[tuple[str, str]] = field(default_factory=list)


def is_prompt(value: object) -> bool:
    """Whether a parsed value is a graph as it was run: nodes by number, each with its kind and inputs."""
    nodes = pairs_of(value) if isinstance(value, dict) else []
    return any(isinstance(node, dict) and "class_type" in node for _, node in nodes)


def is_workflow(value: object) -> bool:
    """Whether a parsed value is a graph as it was drawn: a list of nodes."""
    return isinstance(value, dict) and any(isinstance(nodes, list) for nodes in values_at(value, "nodes"))


def read_run(builder: InfotextBuilder, prompt: dict[str, object]) -> frozenset[str]:
    """Read a graph as it was run; return the numbers of its nodes."""
    nodes: dict[str, _Node] = {}
    for number, node in pairs_of(prompt):
        if isinstance(node, dict) and "class_type" in node:
            meta = node.get("_meta")
            title = meta.get("title") if isinstance(meta, dict) else None
            made = _node(nodes, number, _text(node["class_type"]), _text(title))
            for name, value in _inputs(node):
                source = _linked(value, prompt)
                if source is None:
                    made.values.append((name, value))
                else:
                    made.links.append((name, source))
        else:
            walk(builder, node, role_of(number) or "other")
    _enter(builder, nodes, among=nodes)
    return frozenset(nodes)


def _node(nodes: dict[str, _Node], number: str, kind: str, title: str) -> _Node:
    """The node of a number. One that is told several times has the values and links of all, and the last kind."""
    made = nodes.setdefault(number, _Node(kind, title))
    made.kind, made.title = kind, title
    return made


def _inputs(node: dict[str, object]) -> Iterator[tuple[str, object]]:
    for inputs in values_at(node, "inputs"):
        yield from pairs_of(inputs) if isinstance(inputs, dict) else ()


def read_drawn(builder: InfotextBuilder, workflow: dict[str, object], *, run: frozenset[str]) -> None:
    """Read a graph as it was drawn, but for the nodes of ``run``, whose texts were read with their names.

    A node of an inner graph was run as ``outer:inner``, where the outer node is of that graph's kind.
    """
    drawn: list[dict[str, _Node]] = []
    by_kind: dict[str, int] = {}
    waiting = [workflow]
    while waiting and len(drawn) < _MOST_GRAPHS:
        graph = waiting.pop()
        waiting += _inner_graphs(graph)
        if drawn:
            by_kind.setdefault(_text(graph.get("id")), len(drawn))
        drawn.append(_drawn_nodes(graph))
    if waiting:
        builder.problems.add("too_complex")
    done = [set[str]() for _ in drawn]
    for number in run:
        within, last = _graph_of(number, drawn, by_kind)
        if within is not None:
            done[within].add(last)
    for nodes, known in zip(drawn, done, strict=True):
        _enter(builder, nodes, among=nodes.keys() - known)


def _graph_of(number: str, drawn: list[dict[str, _Node]], by_kind: Mapping[str, int]) -> tuple[int | None, str]:
    """Follow the number of a node that was run from the outermost graph to the one it was drawn in, and return which
    that is, and its number there. None: no graph that was drawn has it."""
    *outer, last = number.split(":")
    within: int | None = 0
    for one in outer:
        node = drawn[within].get(one) if within is not None else None
        within = by_kind.get(node.kind) if node is not None else None
    return within, last


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _linked(value: object, prompt: Mapping[str, object]) -> str | None:
    """Return the node that an input is linked to; None for an input with a value of its own."""
    if isinstance(value, list) and len(value) == 2 and isinstance(value[1], int) and isinstance(value[0], str | int):
        return str(value[0]) if str(value[0]) in prompt else None
    return None


def _listed(fields: dict[str, object], key: str) -> list[object]:
    """The entries of a list under a key; of all lists where the key occurs several times."""
    return [one for listed in values_at(fields, key) if isinstance(listed, list) for one in listed]


def _inner_graphs(graph: dict[str, object]) -> Iterator[dict[str, object]]:
    for definitions in values_at(graph, "definitions"):
        for one in _listed(definitions, "subgraphs") if isinstance(definitions, dict) else ():
            if isinstance(one, dict) and is_workflow(one):
                yield one


def _drawn_nodes(graph: dict[str, object]) -> dict[str, _Node]:
    sources = dict(_links(_listed(graph, "links")))
    nodes: dict[str, _Node] = {}
    for number, node in enumerate(_listed(graph, "nodes")):
        if not isinstance(node, dict):
            continue
        named = str(node.get("id", f"unnumbered {number}"))
        made = _node(nodes, named, _text(node.get("type")), _text(node.get("title")))
        slots = [one for one in _listed(node, "inputs") if isinstance(one, dict)]
        made.links += [(_slot_name(slot), sources[key]) for slot in slots if (key := str(slot.get("link"))) in sources]
        for values in values_at(node, "widgets_values"):
            made.values += _widgets(values, slots, made.kind)
    return nodes


def _links(links: Iterable[object]) -> Iterator[tuple[str, str]]:
    """Yield the number of each link and of the node that it comes from, of both ways in which links are written."""
    for link in links:
        if isinstance(link, list) and len(link) >= 5:
            yield str(link[0]), str(link[1])
        elif isinstance(link, dict):
            yield str(link.get("id")), str(link.get("origin_id"))


def _widgets(values: object, slots: list[dict[str, object]], kind: str) -> Iterator[tuple[str, object]]:
    """Yield a drawn node's own values with their names, where these are known.

    Without names it is unknown which of several texts is the negative one: then none is taken but names of files.
    """
    if isinstance(values, dict):
        yield from pairs_of(values)
        return
    names = [_slot_name(slot) for slot in slots if "widget" in slot]
    listed = values if isinstance(values, list) else []
    named = len(names) == len(listed)
    if not named and any(is_negative(name) for name in names):
        return
    clear = named or kind.startswith(_ENCODING) or kind in _NOTES or _texts_among(listed) < 2
    for number, value in enumerate(listed):
        if clear or (isinstance(value, str) and file_role(value, kind) is not None):
            yield names[number] if named else "", value


def _slot_name(slot: dict[str, object]) -> str:
    """Return what an input is called; by what people see, if that says it is negative."""
    label = _text(slot.get("label"))
    return label if is_negative(label) else _text(slot.get("name"))


def _texts_among(values: list[object]) -> int:
    """Count the values that may be texts of a prompt."""
    texts = [value for value in values if isinstance(value, str) and value.strip()]
    return sum(value.lower() not in _CHOICES and file_role(value, "") is None for value in texts)


def _enter(builder: InfotextBuilder, nodes: Mapping[str, _Node], *, among: Iterable[str]) -> None:
    excluded = _excluded(nodes)
    for number in sorted(among):
        node = nodes[number]
        unwanted = number in excluded or is_negative(node.kind) or is_negative(node.title)
        for name, value in node.values:
            if is_negative(name):
                continue
            for key, text in _texts(name, value):
                role = _role(node, key, text)
                if role == "other" and text[:1] == "{":
                    walk(builder, text, "negative" if unwanted else role)
                elif role == "prompt" and not unwanted:
                    read_prompt(builder, text)
                elif role in ("lora", "model", "version", "hash") or not unwanted:
                    enter(builder, role, f"{node.kind} {key}", text)


def _texts(name: str, value: object) -> Iterator[tuple[str, str]]:
    """Yield a value's texts: itself, or those of an object such as ``{"on": true, "lora": "name"}``, with their
    keys."""
    if isinstance(value, str):
        yield name, value
    elif isinstance(value, int):
        if role_of(name) == "version":
            yield name, str(value)
    elif isinstance(value, dict):
        for key, inner in pairs_of(value):
            if isinstance(inner, str) and not is_negative(key):
                yield key, inner
    elif isinstance(value, list):
        yield from ((name, inner) for inner in value if isinstance(inner, str))


def _role(node: _Node, key: str, text: str) -> Role:
    """Return what a node's text is. A text without a name is what the node is for, if it is made of words."""
    found = file_role(text, f"{node.kind} {key}")
    if found is not None:
        return found
    if key:
        return role_of(key) or role_of(node.kind) or "other"
    of_kind = role_of(node.kind)
    wordy = node.kind not in _NOTES and (of_kind == "prompt" or "text" in node.kind.lower())
    return "prompt" if wordy else "other"


def _excluded(nodes: Mapping[str, _Node]) -> set[str]:
    """Return the nodes that reach the end of a picture through negative inputs and in no other way, and those that
    only show what these say."""
    feeding = {source for node in nodes.values() for _, source in node.links}
    starts = [source for node in nodes.values() for name, source in node.links if is_negative(name)]
    if not starts:
        return set()
    making = _downstream(nodes, {number for number, node in nodes.items() if _samples(node)})
    wanted = _reached(nodes, [(number, False) for number in making - feeding])
    unwanted = _reached(nodes, [(source, True) for source in starts]) - wanted
    return _downstream(nodes, unwanted) - wanted


def _samples(node: _Node) -> bool:
    """Whether a node makes a picture: what shows a text that is excluded is no end that the text is wanted at."""
    return bool(_SAMPLING.search(node.kind)) or any(is_negative(name) for name, _ in node.links)


def _downstream(nodes: Mapping[str, _Node], starts: set[str]) -> set[str]:
    """Return the nodes of ``starts`` and all that they feed by inputs that are not negative."""
    fed: dict[str, list[str]] = {}
    for number, node in nodes.items():
        for name, source in node.links:
            if not is_negative(name):
                fed.setdefault(source, []).append(number)
    waiting, seen = list(starts), set[str]()
    while waiting:
        number = waiting.pop()
        if number not in seen:
            seen.add(number)
            waiting += fed.get(number, [])
    return seen


def _reached(nodes: Mapping[str, _Node], starts: Iterable[tuple[str, bool]]) -> set[str]:
    """Return the nodes upstream of ``starts``: by negative inputs where a node has both kinds and is reached as
    negative, else by all but negative ones."""
    waiting, seen = list(starts), set[tuple[str, bool]]()
    while waiting:
        number, negative = state = waiting.pop()
        if state in seen or number not in nodes:
            continue
        seen.add(state)
        links = nodes[number].links
        both = any(is_negative(name) for name, _ in links)
        waiting += [(source, negative) for name, source in links if (is_negative(name) == negative if both else True)]
    return {number for number, _ in seen}
