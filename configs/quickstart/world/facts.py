"""The facts of the world: each condition with its cause, finding, test, drugs, dose, contraindication and complication.

Every name of a condition or drug is built from syllables and means nothing; the medicine is invented throughout.
"""

from dataclasses import dataclass

from .keyed_random import KeyedRandom

NUM_CONDITIONS = 24

_ONSETS = ["br", "d", "dr", "f", "g", "gl", "h", "j", "k", "kr", "l", "m", "n", "p", "pl", "qu", "r", "s", "sk", "t", "tr", "v", "w", "z"]
_VOWELS = ["a", "e", "i", "o", "u", "au", "ei", "oo"]
_CODAS = ["b", "d", "g", "k", "l", "m", "n", "p", "r", "s", "t", "v", "x", "lm", "nd", "rk", "sp", "th"]
_CONDITION_ENDS = ["osk fever", "umbra", "ay syndrome", "enya", "ipple disease", "oth", "urro", "eld palsy", "annow", "ask rash"]
_DRUG_ENDS = ["ix", "orne", "ulet", "ame", "iquo", "eft", "yl", "ozar", "and", "umi"]

ORGANS = ["inner ear", "bone marrow", "bile ducts", "tear glands", "spleen", "small joints", "nail beds", "voice box", "calf muscles",
          "lymph nodes", "optic nerve", "heart valves"]
_AGENTS = ["spores", "mites", "dust", "a worm", "a virus", "a toxin"]
_SOURCES = ["damp barley", "old thatch", "brackish wells", "raw eels", "rabbit burrows", "pigeon lofts", "river clay", "wool bales", "unripe plums",
            "copper mines", "goat milk", "cellar walls"]
_COLOURS = ["blue", "white", "yellow", "purple", "grey", "green", "orange", "black"]
_SIGNS = ["streaks on the tongue", "rings around the iris", "spots on the palms", "patches behind the knees", "lines across the nails",
          "scales on the elbows", "blisters on the lips", "dots along the gums"]
_MEDIA = ["salt", "vinegar", "candle", "ice", "mirror", "chalk", "honey", "copper", "feather"]
_METHODS = ["lamp test", "skin test", "breath test", "drop test"]
_AMOUNTS = [2, 5, 10, 15, 20, 25, 30, 40, 60, 75, 80, 90]
_TIMES = ["every morning", "twice a day", "at bedtime", "once a week", "every eight hours"]
HAZARDS = ["gallstones", "low potassium", "kidney stones", "glaucoma", "asthma", "pregnancy", "a slow pulse", "epilepsy", "liver scarring", "gout",
           "stomach ulcers", "low blood pressure", "anaemia", "an overactive thyroid", "migraine", "a pacemaker", "psoriasis", "a nut allergy"]
COMPLICATIONS = ["deafness", "brittle bones", "a stroke", "blindness in one eye", "kidney failure", "a collapsed lung", "hair loss", "a clot in the leg",
                 "loss of smell", "a hole in the bowel", "jaundice", "heart block", "a stiff spine", "tooth loss", "a burst spleen", "memory loss",
                 "water on the lungs", "foot drop"]


@dataclass(frozen=True)
class Condition:
    name: str
    organ: str
    cause: str
    finding: str
    test: str
    drug: str
    reserve: str
    dose: str
    hazard: str
    complication: str


ATTRIBUTES = ("organ", "cause", "finding", "test", "drug", "reserve", "dose", "hazard", "complication")


def _build_names(random, ends, count, taken):
    """Names no two of which share their first four letters, so that the tokenizer and the reader can tell them apart."""
    names = []
    while len(names) < count:
        stem = random.choice(_ONSETS) + random.choice(_VOWELS) + random.choice(_CODAS) + random.choice(_VOWELS[:5]) + random.choice(_CODAS[:13])
        if stem[:4] in taken:
            continue
        taken.add(stem[:4])
        names.append((stem + ends[len(names) % len(ends)]).capitalize())
    return names


def _spread(random, values, count):
    """Each value about equally often, in random order: no answer is likelier than another of its kind."""
    return random.shuffled([values[i % len(values)] for i in range(count)])


def build_conditions(seed, count=NUM_CONDITIONS):
    random = KeyedRandom(seed, "facts")
    taken = set()
    names = _build_names(random, _CONDITION_ENDS, count, taken)
    drugs = random.shuffled(_build_names(random, _DRUG_ENDS, 2 * count, taken))
    causes = random.sample([f"{agent} from {source}" for agent in _AGENTS for source in _SOURCES], count)
    findings = random.sample([f"{colour} {sign}" for colour in _COLOURS for sign in _SIGNS], count)
    tests = random.sample([f"{medium} {method}" for medium in _MEDIA for method in _METHODS], count)
    doses = random.sample([f"{amount} mg {time}" for amount in _AMOUNTS for time in _TIMES], count)
    organs = _spread(random, ORGANS, count)
    hazards = _spread(random, HAZARDS, count)
    complications = _spread(random, COMPLICATIONS, count)
    return [Condition(names[i], organs[i], causes[i], findings[i], tests[i], drugs[i], drugs[count + i], doses[i], hazards[i], complications[i])
            for i in range(count)]
