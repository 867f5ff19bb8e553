"""Words for texts as uploaders write them, and for names that nobody has: the material of `benchmarks.evidence.text`.

Titles, prompts and tags are drawn from lists of our own, among them ordinary words that are also given names and
surnames. Names are syllables at random; the hard list joins two of those ordinary words (Rose Hill, Will Stone).
"""

from __future__ import annotations

from random import Random


def _listed(words: str) -> list[str]:
    return words.split()


GIVEN = _listed(
    """
    rose may grace hope will mark art dawn summer ivy jasmine amber ruby pearl violet iris lily daisy olive robin
    frank rich bill jack june april august dean grant chase drew faith joy pat ray sky sunny autumn crystal melody
    harmony destiny heaven angel star willow holly heather ginger sandy rusty rocky cliff glen dale heath forest
    river
    """
)
SURNAMES = _listed(
    """
    hill stone woods rivers brown white green black gray king prince bishop knight page hunter fisher baker cook
    mason carter taylor smith wolf fox young strong long short field banks brooks lake park west north street bell
    ball day winter snow frost storm love best rose marsh moon parks waters wells church castle bridge gold silver
    power wise sharp swift noble rich gates house
    """
)
THINGS = _listed(
    """
    portrait woman man girl boy person face hair eyes dress jacket armor cloak hat sword dragon castle forest
    mountain river lake ocean beach sunset sunrise sky clouds rain snow city street night market garden flowers tree
    window room kitchen car train ship robot spaceship planet stars moon cat dog horse bird fox wolf tiger statue
    temple bridge tower ruins desert field village library throne crown necklace mirror lantern candle smoke fire
    water glass steel marble gold silver silk leather fur lace ribbon boots gloves mask wings horns tail scar tattoo
    freckles smile
    """
)
QUALITIES = _listed(
    """
    masterpiece detailed cinematic realistic photorealistic sharp soft dramatic golden warm cold dark bright vivid
    pastel muted elegant beautiful young old ancient futuristic rustic gothic baroque minimal intricate ornate
    delicate strong long short curly straight blonde brunette ginger silver blue green brown grey red black white
    wet shiny glossy matte moody serene epic gentle fierce happy sad calm lonely crowded foggy misty stormy sunny
    snowy
    """
)
FILLERS = _listed(
    """
    a the of in on with and by at under over near from for wearing holding standing sitting looking
    """
)
SYNTAX = _listed(
    """
    (masterpiece:1.2) (best quality:1.3) ((detailed face)) [blurry] 8k 4k uhd hdr 35mm f/1.8 1girl 1boy 2girls solo
    <lora:detailTweaker_v1:0.6> <lora:filmGrain-v2:0.4> score_9 score_8_up rating_safe absurdres highres v2 v1.5
    sdxl BREAK AND steps:30 cfg:7 seed:12345678 DPM++ 2M euler_a --ar 16:9 --v 5 bokeh raw_photo looking_at_viewer
    """
)
CONSONANTS = _listed(
    """
    b c d f g h j k l m n p r s t v w z br dr gr kr st th sh ch
    """
)
VOWELS = _listed(
    """
    a e i o u ai ia ei
    """
)


def prompt(random: Random) -> str:
    """About 300 characters of comma-separated phrases with the syntax of prompts."""
    return ", ".join(_phrase(random) for _ in range(random.randint(8, 24)))


def title(random: Random) -> str:
    """A few words, now and then as a file would be called."""
    words = [_word(random) for _ in range(random.randint(1, 5))]
    style = random.random()
    if style < 0.2:
        return "_".join(words) + f"_v{random.randint(1, 12)}"
    if style < 0.3:
        return "".join(word.capitalize() for word in words)
    return " ".join(word.capitalize() if random.random() < 0.5 else word for word in words)


def tags(random: Random) -> list[str]:
    """A handful of tags."""
    return [_word(random) if random.random() < 0.7 else _phrase(random) for _ in range(random.randint(3, 20))]


def _phrase(random: Random) -> str:
    kind = random.random()
    if kind < 0.2:
        return random.choice(SYNTAX)
    if kind < 0.5:
        return f"{random.choice(QUALITIES)} {random.choice(THINGS)}"
    if kind < 0.6:
        return f"({_word(random)} {_word(random)}:{random.randint(8, 15) / 10})"
    joined = (random.choice(FILLERS), random.choice(FILLERS))
    return f"{random.choice(THINGS)} {joined[0]} {joined[1]} {random.choice(QUALITIES)} {_word(random)}"


def _word(random: Random) -> str:
    ordinary = random.random() < 0.85
    return random.choice((THINGS, QUALITIES)[random.random() < 0.4] if ordinary else (GIVEN + SURNAMES))


def invented_names(count: int, random: Random) -> list[str]:
    """Different full names of two words (three in one of ten), made of syllables, that no text above has."""
    names: dict[str, None] = {}
    while len(names) < count:
        words = [_invented(random) for _ in range(3 if random.random() < 0.1 else 2)]
        names[" ".join(words)] = None
    return list(names)


def _invented(random: Random) -> str:
    syllables = (random.choice(CONSONANTS) + random.choice(VOWELS) for _ in range(random.randint(2, 3)))
    return "".join(syllables).capitalize() + random.choice(("", "", "n", "r", "s", "ck"))


def common_word_names(count: int, random: Random) -> list[str]:
    """Different full names of two ordinary words: the hard case."""
    pairs = [f"{given.capitalize()} {surname.capitalize()}" for given in GIVEN for surname in SURNAMES]
    return random.sample(pairs, min(count, len(pairs)))
