"""Names in texts: how often a name is found where there is none, how many disguises are seen through, and how fast.

    python -m benchmarks.evidence.text [--texts 100000] [--names 100000] [--repeats 3] [--json]

Texts are titles, prompts and tags drawn from our own lists, a third each. No text holds a name on purpose, so each find
is a false alarm; they are counted by rule, per 100,000 texts, for these lists of names: ``invented`` (syllables),
``hard`` (thousands of people called by two ordinary words, as Rose Hill is) and ``mononyms`` (one ordinary word as an
alias, with and without exclusions). Our lists hold such words on purpose: a platform's texts have fewer.

Disguises: one invented name planted in a prompt, written in each way; ``found`` is the share that is found with the
right person, beside the peers'. ``found_by_script`` is the same for other ways of writing a name, by its script. Peers,
in the same run on the same texts: a compiled ``re`` alternation over the first ``--peer-names`` names, ignoring case
(name after name), and a dictionary looked up at every window of two and three words, over all names. ``ratio`` is the
peer's time divided by ours with the same names, median of interleaved repeats, one thread. Checked in the run: ours
finds what brute force over the definition finds (a sample), and all that the peers find.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from random import Random
from typing import Any

from benchmarks.evidence.words import GIVEN, common_word_names, invented_names, prompt, tags, title
from benchmarks.machine import describe_machine
from indexes.name_rules import NameSettings, SubjectNames, brute_force_names
from indexes.name_text import join_texts
from indexes.names import NameMatcher
from pipelines.intake.texts import SIDE_BY_SIDE, texts_of
from pipelines.sources import Item

SETTINGS = NameSettings(least_letters=3, joined_letters=6, inside_letters=8, most_letters=300)
"""The defaults of ``[names]`` in likeness.toml."""
PLANTED = 500
CHECKED_TEXTS, CHECKED_NAMES = 60, 60
FULL_WIDTH = {point: point + 0xFEE0 for point in range(0x21, 0x7F)} | {0x20: 0x3000}
LOOK_ALIKE = str.maketrans("aeocpx", "аеосрх")
LISU = str.maketrans("ABCDEFGHIJKLMNOPRSTUVWXYZ", "ꓮꓐꓚꓓꓰꓝꓖꓧꓲꓙꓗꓡꓟꓠꓳꓑꓣꓢꓔꓴꓦꓪꓫꓬꓜ")
CHEROKEE = str.maketrans("ABCDEGHIJKLMPRSTVWYZ", "ᎪᏴᏟᎠᎬᏀᎻᎥᎫᏦᏞᎷᏢᎡᏚᎢᏙᎳᎩᏃ")
FIGURED = str.maketrans("aeiost", "431057")

Find = Callable[[str], set[str]]

DISGUISES: dict[str, Callable[[str], str]] = {
    "plain": lambda name: name,
    "lower case": str.lower,
    "underscores": lambda name: name.lower().replace(" ", "_"),
    "in a file's name": lambda name: name.replace(" ", "") + "_v2",
    "in a lora tag": lambda name: f"<lora:{name[0].lower()}{name[1:].replace(' ', '')}_v10:0.8>",
    "weighted": lambda name: f"({name.lower()}:1.3)",
    "in brackets": lambda name: f"(({name.split()[0]})) {' '.join(name.split()[1:])}",
    "surname first": lambda name: f"{name.split()[-1]}, {' '.join(name.split()[:-1])}",
    "joined": lambda name: name.lower().replace(" ", ""),
    "figures for letters": lambda name: name.lower().translate(FIGURED),
    "accents": lambda name: name.replace("a", "á").replace("e", "ë").replace("o", "ô"),
    "full width": lambda name: name.translate(FULL_WIDTH),
    "look-alikes": lambda name: name.lower().translate(LOOK_ALIKE),
    "invisible characters": lambda name: "\u200b".join(name),
    "spelled out": lambda name: " ".join(name.replace(" ", "")),
    "non-breaking space": lambda name: name.replace(" ", "&nbsp;"),
    "entities": lambda name: "".join(f"&#{ord(letter)};" if letter in "aeiou" else letter for letter in name),
    "with an initial": lambda name: name.replace(" ", " Q. ", 1),
    "a picture in a word": lambda name: f"{name[:2]}\U0001f600{name[2:]}",
    "right to left": lambda name: f"\u202e{name[::-1]}\u202c",
    "Lisu letters": lambda name: name.upper().translate(LISU),
    "Cherokee letters": lambda name: name.upper().translate(CHEROKEE),
}

SCRIPTS: dict[str, tuple[str, dict[str, Callable[[str], str]]]] = {
    "Chinese and Japanese": (
        "山田太郎",
        {
            "a space": lambda name: f"{name[:2]} {name[2:]}",
            "a middle dot": lambda name: f"{name[:2]}\u30fb{name[2:]}",
            "an underscore": lambda name: f"{name[:2]}_{name[2:]}",
        },
    ),
    "Korean": ("김철수", {"a space": lambda name: f"{name[:1]} {name[1:]}", "a particle": lambda name: f"{name}는"}),
    "Thai": ("ณเดชน์คูกิมิยะ", {"a space": lambda name: f"{name[:6]} {name[6:]}"}),
    "German": (
        "Jürgen Größmann",
        {"two letters": lambda _: "Juergen Groessmann", "none": lambda _: "Jurgen Grossmann"},
    ),
    "Nordic": ("Søren Åström", {"two letters": lambda _: "Soeren Aastroem", "none": lambda _: "Soren Astrom"}),
    "Icelandic": ("Þóra Guðrún", {"two letters": lambda _: "Thora Gudrun"}),
    "Arabic": (
        "فاطمة الزهراني",
        {
            "other letters": lambda _: "فاطمه الزهرانی",
            "the kashida": lambda _: "فاطـمـة الزهرانـي",
            "a prefix": lambda name: f"و{name}",
        },
    ),
    "Irish": (
        "Aoife O'Shaughnessy",
        {
            "nothing": lambda name: name.replace("'", ""),
            "an underscore": lambda name: name.replace("'", "_"),
            "an entity": lambda name: name.replace("'", "&#39;"),
        },
    ),
}
"""A name that is nobody's as far as we know, by the script, and other ways in which it is written."""


def draw_texts(count: int, random: Random) -> list[str]:
    """Titles, prompts and tags in turn."""
    makers = (title, prompt, lambda random: join_texts(tags(random)))
    return [makers[number % 3](random) for number in range(count)]


def subjects_of(names: Sequence[str]) -> list[SubjectNames]:
    """A subject for each name, called after its number."""
    return [SubjectNames(str(number), (name,)) for number, name in enumerate(names)]


def false_alarms(texts: Sequence[str], subjects: Sequence[SubjectNames]) -> dict[str, Any]:
    """Texts in which any name was found, and finds by rule, per 100,000 texts."""
    matcher = NameMatcher(subjects, settings=SETTINGS)
    by_rule: Counter[str] = Counter()
    touched = 0
    for text in texts:
        matches = matcher.find(text)
        touched += bool(matches)
        by_rule.update(match.rule for match in matches)
    scale = 100_000 / len(texts)
    rates = {rule: round(count * scale, 1) for rule, count in sorted(by_rule.items())}
    return {"names": len(subjects), "texts_with_any": round(touched * scale, 1), "by_rule": rates}


def with_middle_names(names: Sequence[str], random: Random) -> list[str]:
    """The names with a name of somebody else in the middle."""
    return [f"{name.split()[0]} {random.choice(names).split()[0]} {name.split()[-1]}" for name in names]


def mononyms(*, excluded: bool) -> list[SubjectNames]:
    """People with an ordinary word as an alias; ``excluded``: with the phrases that an operator would exclude."""
    phrases = {"rose": ("rose garden", "red rose"), "sky": ("blue sky", "night sky"), "will": ("will smith",)}
    return [SubjectNames(word, (f"{word} Zzyvqua", word), phrases.get(word, ()) if excluded else ()) for word in GIVEN]


def finder(names: Sequence[str]) -> Find:
    """Our matcher, answering with the numbers of names."""
    matcher = NameMatcher(subjects_of(names), settings=SETTINGS)
    return lambda text: {match.subject_id for match in matcher.find(text)}


def alternation(names: Sequence[str]) -> Find:
    """A compiled ``re``: the usual first attempt."""
    numbers = {name.lower(): str(number) for number, name in enumerate(names)}
    pattern = re.compile(r"\b(?:" + "|".join(map(re.escape, names)) + r")\b", re.IGNORECASE)
    return lambda text: {numbers[found.lower()] for found in pattern.findall(text)}


def windows(names: Sequence[str]) -> Find:
    """Every two and three words in a row, looked up in a dictionary."""
    numbers = {tuple(name.lower().split()): str(number) for number, name in enumerate(names)}
    word = re.compile(r"[^\W_]+")

    def find(text: str) -> set[str]:
        words = word.findall(text.lower())
        pairs = pairwise(words)
        threes = zip(words, words[1:], words[2:], strict=False)
        return {numbers[window] for window in (*pairs, *threes) if window in numbers}

    return find


def seconds_of(find: Find, texts: Sequence[str]) -> float:
    """Processor time for all texts."""
    started = time.process_time()
    for text in texts:
        find(text)
    return time.process_time() - started


def compare_speed(ours: Find, peer: Find, texts: Sequence[str], *, repeats: int) -> dict[str, float]:
    """Time both in turns; return medians and their ratio."""
    pairs = [(seconds_of(ours, texts), seconds_of(peer, texts)) for _ in range(repeats)]
    own = statistics.median(own for own, _ in pairs)
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    return {
        "texts_per_second": round(len(texts) / own),
        "mb_per_second": round(megabytes / own, 2),
        "peer_texts_per_second": round(len(texts) / statistics.median(other for _, other in pairs)),
        "ratio": round(statistics.median(other / own for own, other in pairs), 2),
    }


def recall_by_disguise(finders: dict[str, tuple[Find, int]], names: Sequence[str], random: Random) -> dict[str, Any]:
    """Share of planted names found, by disguise and finder; each finder is asked for names that it knows."""
    table: dict[str, Any] = {}
    for disguise, write in DISGUISES.items():
        table[disguise] = {}
        for called, (find, known) in finders.items():
            drawn = Random(0)
            found = 0
            for _ in range(PLANTED):
                number = drawn.randrange(known)
                found += str(number) in find(f"{prompt(random)}, {write(names[number])}, {title(random)}")
            table[disguise][called] = round(found / PLANTED, 3)
    return table


def recall_by_script(random: Random) -> dict[str, Any]:
    """Share of planted names found in each other way of writing them, by script."""
    table: dict[str, Any] = {}
    for script, (name, ways) in SCRIPTS.items():
        find = finder([name])
        table[script] = {}
        for way, write in {"as it is": lambda name: name, **ways}.items():
            texts = [f"{prompt(random)}, {write(name)}, {title(random)}" for _ in range(PLANTED // 5)]
            table[script][way] = sum(bool(find(text)) for text in texts) / len(texts)
    return table


def only_side_by_side(count: int, subjects: Sequence[SubjectNames], random: Random) -> dict[str, Any]:
    """Items of title and tags in which a name is found only over several of them, per 100,000."""
    matcher, touched = NameMatcher(subjects, settings=SETTINGS), 0
    moment = datetime(2026, 12, 1, tzinfo=UTC)
    for _ in range(count):
        texts = texts_of(Item("i", "image", moment, "", title=title(random), tags=tuple(tags(random))))
        beside = {match.subject_id for match in matcher.find(texts.pop(SIDE_BY_SIDE, ""))}
        touched += bool(beside - {match.subject_id for text in texts.values() for match in matcher.find(text)})
    return {"names": len(subjects), "texts_with_any": round(touched * 100_000 / count, 1), "by_rule": {}}


def check(names: Sequence[str], finders: dict[str, tuple[Find, int]], random: Random) -> int:
    """Raise unless ours finds what the definition and the peers find; return how many texts were compared."""
    few = subjects_of(names[:CHECKED_NAMES])
    small = NameMatcher(few, settings=SETTINGS)
    ours = finders["ours"][0]
    for number in range(CHECKED_TEXTS):
        write = list(DISGUISES.values())[number % len(DISGUISES)]
        text = f"{prompt(random)}, {write(names[number % CHECKED_NAMES])}, {title(random)}"
        if small.find(text) != brute_force_names(few, text, settings=SETTINGS):
            raise AssertionError("the index and the definition differ")
        for called, (find, _) in finders.items():
            if not find(text) <= ours(text):
                raise AssertionError(f"{called} finds what ours does not")
    return CHECKED_TEXTS


def measure(*, texts: int, names: int, peer_names: int, repeats: int, seed: int = 1) -> dict[str, Any]:
    """Run all parts; return their figures as one JSON object."""
    random = Random(seed)
    drawn = draw_texts(texts, random)
    invented = invented_names(names, random)
    started = time.process_time()
    ours = finder(invented)
    built = time.process_time() - started
    few = invented[:peer_names]
    finders = {
        "ours": (ours, names),
        "word windows": (windows(invented), names),
        "re alternation": (alternation(few), peer_names),
    }
    checked = check(invented, finders, random)
    sample, prompts = drawn[: min(texts, 20_000)], [prompt(random) for _ in range(min(texts, 5_000))]
    return {
        "machine": describe_machine(),
        "texts": texts,
        "build_seconds": round(built, 2),
        "checked_texts": checked,
        "false_alarms_per_100000": {
            "invented": false_alarms(drawn, subjects_of(invented)),
            "hard": false_alarms(drawn, subjects_of(common_word_names(5_000, random))),
            "mononyms": false_alarms(drawn, mononyms(excluded=False)),
            "mononyms with exclusions": false_alarms(drawn, mononyms(excluded=True)),
            "with middle names": false_alarms(drawn, subjects_of(with_middle_names(invented[:5_000], random))),
            "invented, title and tags": only_side_by_side(texts, subjects_of(invented), random),
            "hard, title and tags": only_side_by_side(texts, subjects_of(common_word_names(5_000, random)), random),
        },
        "found_by_script": recall_by_script(random),
        "found": recall_by_disguise(finders, invented, random),
        "speed": {
            f"word windows, {names} names, mixed texts": compare_speed(
                ours, finders["word windows"][0], sample, repeats=repeats
            ),
            f"word windows, {names} names, prompts": compare_speed(
                ours, finders["word windows"][0], prompts, repeats=repeats
            ),
            f"re alternation, {peer_names} names, prompts": compare_speed(
                finder(few), finders["re alternation"][0], prompts[:500], repeats=repeats
            ),
        },
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--texts", type=int, default=100_000)
    parser.add_argument("--names", type=int, default=100_000)
    parser.add_argument("--peer-names", type=int, default=1_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    values = {name: value for name, value in vars(arguments).items() if name != "json"}
    result = measure(**values)
    if arguments.json:
        json.dump(result, sys.stdout, indent=2)
        print()
        return
    for called, rates in result["false_alarms_per_100000"].items():
        print(f"{called:<26} {rates['texts_with_any']:>9} of 100,000 texts  {rates['by_rule']}")
    for disguise, found in result["found"].items():
        print(f"{disguise:<26} {found}")
    for script, found in result["found_by_script"].items():
        print(f"{script:<26} {found}")
    for peer, speed in result["speed"].items():
        print(f"{peer:<44} {speed}")


if __name__ == "__main__":
    main()
