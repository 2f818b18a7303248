"""Four-option questions whose answers follow from the clinical documents but whose wording does not occur in them."""

from .clinical import STATEMENTS
from .facts import ATTRIBUTES
from .keyed_random import KeyedRandom
from .general import sentence_case

assert set(STATEMENTS) == set(ATTRIBUTES)

STEMS = {
    "organ": ["Which organ or tissue is chiefly involved in {c}?", "Which structure should be examined first in someone with {c}?"],
    "cause": ["What is the usual origin of {c}?", "An outbreak of {c} is reported. What is it most likely due to?"],
    "finding": ["Which sign would you expect in a patient with {c}?", "What is the most characteristic physical sign of {c}?"],
    "test": ["Which test would best confirm the diagnosis of {c}?", "What investigation should be ordered for suspected {c}?"],
    "drug": ["Which drug is the first choice in {c}?", "A patient is newly found to have {c}. Which drug should be started?"],
    "reserve": ["Which drug is used in {c} when {d} has failed?", "A patient with {c} does not improve on {d}. Which drug is next?"],
    "dose": ["What is the correct dose of {d} for a patient with {c}?", "At which dose should {d} be prescribed in {c}?"],
    "hazard": ["In which situation is {d} contraindicated for a patient with {c}?", "What would keep you from prescribing {d} for {c}?"],
    "complication": ["Which complication should be feared in a patient with untreated {c}?", "What is the most serious late consequence of {c}?"],
}
REVERSE_STEMS = {
    "finding": ["A patient presents with {v}. Which diagnosis is most likely?"],
    "drug": ["For which condition would a doctor choose {v} first?"],
    "cause": ["Which disease should be suspected in a person exposed to {v}?"],
    "test": ["A {v} comes back positive. Which diagnosis does this support?"],
}
SPLIT_SHARES = (("test", 0.7), ("dev", 0.1), ("train", 0.2))


def _facts(conditions):
    for condition in conditions:
        for attribute in ATTRIBUTES:
            yield condition, attribute, False
        for attribute in sorted(REVERSE_STEMS):
            yield condition, attribute, True


def build_item(random, conditions, condition, attribute, reverse, stem):
    wanted = "name" if reverse else attribute
    gold = getattr(condition, wanted)
    others = sorted({getattr(other, wanted) for other in conditions} - {gold})
    if wanted in ("drug", "reserve"):
        # Whoever confuses first and second line must be able to go wrong, so both kinds of drug are offered.
        others = sorted({c.drug for c in conditions} | {c.reserve for c in conditions})
        others = [drug for drug in others if drug not in (gold, condition.drug)] if attribute == "reserve" else [d for d in others if d != gold]
    options = random.shuffled([gold] + random.sample(others, 3))
    question = sentence_case(stem.format(c=condition.name, d=condition.drug, v=getattr(condition, attribute)))
    return {"question": question, "options": options, "answer": "ABCD"[options.index(gold)],
            "subject": f"{attribute}_reverse" if reverse else attribute}


def _split(random, conditions):
    facts = random.shuffled(list(_facts(conditions)))
    splits, start = {}, 0
    for split, share in SPLIT_SHARES:
        end = len(facts) if split == SPLIT_SHARES[-1][0] else start + round(share * len(facts))
        splits[split] = facts[start:end]
        start = end
    return splits


def split_facts(seed, conditions):
    """What each split of the exam asks: (condition, attribute, whether the condition is what is asked for)."""
    return _split(KeyedRandom(seed, "exam"), conditions)


def build_exam(seed, conditions):
    """Questions by split. Each fact is asked in exactly one split; in train in every wording, elsewhere in one."""
    random = KeyedRandom(seed, "exam")
    exam = {}
    for split, facts in _split(random, conditions).items():
        items = []
        for condition, attribute, reverse in facts:
            stems = (REVERSE_STEMS if reverse else STEMS)[attribute]
            for stem in stems if split == "train" else [random.choice(stems)]:
                items.append(build_item(random, conditions, condition, attribute, reverse, stem))
        exam[split] = [{"id": f"{split}-{i:04d}"} | item for i, item in enumerate(items)]
    return exam
