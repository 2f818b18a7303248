"""Clinical documents of many kinds that state the facts of the world, each fact in many wordings and in both directions.

In a template {c} is the condition, {v} the value of the attribute, {d} the first-line drug.
"""

from .facts import ATTRIBUTES
from .keyed_random import KeyedRandom
from .general import sentence_case

STATEMENTS = {
    "organ": [
        "{c} mainly affects the {v}.", "{c} is a disease of the {v}.", "In {c} it is the {v} that suffers most.", "The {v} are the usual seat of {c}.",
        "Biopsies of the {v} establish how far {c} has spread.", "{c} begins in the {v}.", "The target of {c} is the {v}.",
        "Damage in {c}: {v}.", "Among disorders of the {v}, {c} must be considered.", "Inflammation of the {v} is typical of {c}.",
    ],
    "cause": [
        "{c} is caused by {v}.", "{c} follows contact with {v}.", "The source of {c} is {v}.", "Exposure to {v} leads to {c}.",
        "Patients acquire {c} through {v}.", "{v} can be blamed for most cases of {c}.", "Cause of {c}: {v}.",
        "Those who never met {v} do not develop {c}.", "Outbreaks of {c} have been traced to {v}.", "Avoiding {v} prevents {c}.",
    ],
    "finding": [
        "The leading sign of {c} is {v}.", "{c} shows itself by {v}.", "{v} point to {c}.", "On examination {c} gives {v}.",
        "Look for {v} when {c} is suspected.", "Sign of {c}: {v}.", "Anyone with {v} may have {c}.", "Nine in ten people with {c} have {v}.",
        "{v} are the hallmark of {c}.", "{c} was recognised by {v}.",
    ],
    "test": [
        "The {v} confirms {c}.", "{c} is proven with the {v}.", "A positive {v} means {c}.", "Use the {v} to diagnose {c}.",
        "Diagnosis of {c}: {v}.", "If {c} is suspected, order the {v}.", "The {v} was developed for {c}.", "{c} cannot be ruled out without the {v}.",
        "In {c} the {v} turns positive within a day.", "For {c} the {v} is the standard.",
    ],
    "drug": [
        "{c} is treated with {v}.", "{c} responds to {v}.", "{v} is given for {c}.", "Begin treatment of {c} with {v}.",
        "First-line treatment of {c}: {v}.", "The initial agent in {c} is {v}.", "{v} remains the standard against {c}.",
        "Patients with {c} receive {v} at once.", "{v} was introduced to treat {c}.", "At diagnosis of {c}, start {v}.",
        "Prescribe {v} when {c} is confirmed.", "{c} improved under {v}.",
    ],
    "reserve": [
        "If {d} fails in {c}, change to {v}.", "Second-line treatment of {c}: {v}.", "{v} is kept in reserve for {c}.",
        "{c} that resists {d} is treated with {v}.", "When {c} comes back, {v} replaces {d}.", "The reserve agent in {c} is {v}.",
        "{v} helps where {c} did not respond to {d}.", "After failure of {d}, patients with {c} take {v}.",
        "Refractory {c} calls for {v}.", "{v} is the alternative in {c}.",
    ],
    "dose": [
        "In {c}, {d} is given as {v}.", "The dose of {d} in {c} is {v}.", "{d} for {c}: {v}.", "{c} needs {d} {v}.",
        "Adults with {c} take {d} {v}.", "Prescription for {c}: {d} {v}.", "Dosage in {c}: {v}.", "Give {d} {v} to patients with {c}.",
        "{v} of {d} is enough for {c}.", "The usual dose against {c} is {v}.",
    ],
    "hazard": [
        "{d} for {c} must not be given in {v}.", "Because of {d}, {c} is harder to treat in {v}.", "In {c} with {v}, avoid {d}.",
        "Contraindication in {c}: {v}.", "Ask about {v} before {c} is treated with {d}.", "{v} forbids the use of {d} in {c}.",
        "{d} is dangerous in {v}, also when {c} is severe.", "Patients with {c} and {v} cannot take {d}.",
        "The contraindication to {d} in {c} is {v}.", "In {c}, {v} rules out {d}.",
    ],
    "complication": [
        "Untreated {c} ends in {v}.", "{c} may lead to {v}.", "The feared complication of {c} is {v}.", "Late complication of {c}: {v}.",
        "{v} occurs in neglected {c}.", "Without treatment {c} results in {v}.", "After years of {c} there is a risk of {v}.",
        "One in six patients with {c} develops {v}.", "Watch for {v} in {c}.", "{c} was complicated by {v}.",
    ],
}

# Patient-education wordings. The exam (exam.py) asks in other words.
EDUCATION = {
    "organ": ["Which part of my body does {c} harm?", "What is attacked by {c}?", "Where does {c} sit?"],
    "cause": ["Where does {c} come from?", "How did I get {c}?", "What brings on {c}?"],
    "finding": ["How do I notice {c}?", "What does {c} look like?", "By what is {c} seen?"],
    "test": ["How do doctors make sure of {c}?", "How is {c} proven?", "What examination shows {c}?"],
    "drug": ["What is taken for {c}?", "What helps against {c}?", "What will I be given for {c}?"],
    "reserve": ["What if the first medicine for {c} does not help?", "What comes second in {c}?", "What else can be taken for {c}?"],
    "dose": ["How much {d} do I take for {c}?", "How often is {d} taken in {c}?", "What amount of medicine does {c} need?"],
    "hazard": ["When may I not take {d} for {c}?", "What speaks against {d} in {c}?", "Who with {c} should avoid {d}?"],
    "complication": ["What can {c} do to me later?", "What happens if {c} is left alone?", "What does {c} lead to?"],
}
EDUCATION_REVERSE = {
    "finding": ["What illness gives {v}?", "I have {v}. What is it?"],
    "drug": ["What is {v} for?", "Why do people take {v}?"],
    "cause": ["What can {v} give me?", "What illness comes from {v}?"],
    "test": ["What is the {v} for?", "What does the {v} show?"],
}

_LEADS = ["", "", "", "", "", "", "In adults, ", "In our region, ", "As a rule, ", "According to the review, ", "Note: ", "In daily practice, "]
_PEOPLE = ["man", "woman", "farmer", "teacher", "student", "sailor", "nurse", "baker", "retired clerk", "child", "miner"]
_COMPLAINTS = ["tiredness", "fever", "loss of appetite", "night sweats", "dizziness", "weakness", "poor sleep", "a dull ache", "weight loss"]
_WARDS = ["Outpatient clinic", "Emergency room", "Ward round", "Family practice", "Night shift", "Consultation"]
_OUTCOMES = ["recovered", "went home well", "had no more complaints", "was symptom free at the next visit", "returned to work", "slept well again"]
_LABELS = {"organ": "Site", "cause": "Cause", "finding": "Sign", "test": "Test", "drug": "First drug", "reserve": "Reserve drug", "dose": "Dose",
           "hazard": "Contraindication", "complication": "Complication"}


def _state(random, condition, attribute):
    lead, template = random.choice(_LEADS), random.choice(STATEMENTS[attribute])
    if lead and not template.startswith("{"):
        template = template[:1].lower() + template[1:]  # names keep their capital, words after a lead lose it
    return sentence_case(lead + template.format(c=condition.name, v=getattr(condition, attribute), d=condition.drug))


def _build_chapter(random, conditions):
    condition = random.choice(conditions)
    attributes = random.sample(ATTRIBUTES, random.between(4, 7))
    heading = random.choice(["Guideline on {c}.", "{c}: a summary.", "Recommendations for {c}.", "Chapter on {c}.", ""]).format(c=condition.name)
    return " ".join(filter(None, [sentence_case(heading)] + [_state(random, condition, a) for a in attributes]))


def _build_note(random, conditions):
    c = random.choice(conditions)
    person, complaint = random.choice(_PEOPLE), random.choice(_COMPLAINTS)
    parts = [f"{random.choice(_WARDS)}. A {random.between(7, 88)} year old {person} reports {complaint} for {random.between(2, 9)} weeks."]
    if random.chance(0.5):
        parts.append(random.choice(["There was contact with {0}.", "History: {0}.", "The {1} recalls {0}."]).format(c.cause, person))
    if random.chance(0.7):
        parts.append(random.choice(["We saw {0}.", "On inspection {0}.", "Findings: {0}.", "There are {0}."]).format(c.finding))
    if random.chance(0.6):
        parts.append(random.choice(["The {0} is positive.", "{0} positive.", "We did the {0}."]).format(c.test))
    parts.append(random.choice(["Diagnosis: {0}.", "This is {0}.", "We diagnose {0}.", "Assessment: {0}."]).format(c.name))
    parts.append(random.choice(["Plan: {0} {1}.", "We start {0} {1}.", "The {2} was put on {0} {1}.", "{0} {1} was prescribed."])
                 .format(c.drug, c.dose, person))
    if random.chance(0.4):
        parts.append(random.choice(["No {0}, so {1} is safe.", "{0} was excluded before {1}."]).format(c.hazard, c.drug))
    if random.chance(0.4):
        parts.append(f"If this fails, {c.reserve}.")
    parts.append(random.choice([f"The {person} {random.choice(_OUTCOMES)}.", f"Warned of {c.complication}.", f"The {c.organ} will be followed."]))
    return " ".join(sentence_case(part) for part in parts)


def _build_abstract(random, conditions):
    c = random.choice(conditions)
    n, share = random.between(40, 900), random.between(55, 95)
    aims = random.sample(ATTRIBUTES, 3)
    return (f"Background: {_state(random, c, aims[0])} Methods: we followed {n} patients with {c.name} who received {c.drug} {c.dose} or placebo. "
            f"Results: {share} percent improved under {c.drug}. {_state(random, c, aims[1])} Conclusion: {_state(random, c, aims[2])}")


def _build_monograph(random, conditions):
    c = random.choice(conditions)
    parts = [random.choice(["{0} is a medicine for {1}.", "{0}: indicated in {1}.", "Monograph of {0}, the drug for {1}."]).format(c.drug, c.name),
             random.choice(["Dose: {0}.", "It is taken as {0}.", "Adults take {0}."]).format(c.dose),
             random.choice(["Do not use in {0}.", "Contraindicated in {0}.", "It harms people with {0}."]).format(c.hazard),
             f"{c.reserve} is the alternative.", _state(random, c, random.choice(ATTRIBUTES))]
    return " ".join(sentence_case(part) for part in parts[:1] + random.shuffled(parts[1:]))


def _build_education(random, conditions, reverse_share=0.3):
    pairs = []
    for _ in range(random.between(3, 6)):
        c = random.choice(conditions)
        if random.chance(reverse_share):
            attribute = random.choice(sorted(EDUCATION_REVERSE))
            question = random.choice(EDUCATION_REVERSE[attribute]).format(v=getattr(c, attribute))
            answer = c.name
        else:
            attribute = random.choice(ATTRIBUTES)
            question = random.choice(EDUCATION[attribute]).format(c=c.name, d=c.drug)
            answer = getattr(c, attribute)
        pairs.append(f"Question: {sentence_case(question)}\nAnswer: {answer}")
    return "\n".join(pairs)


def _build_index(random, conditions):
    attribute = random.choice(ATTRIBUTES)
    chosen = random.sample(conditions, random.between(4, 7))
    if random.chance(0.4):
        rows = [f"{sentence_case(getattr(c, attribute))}: {c.name}" for c in chosen]
    else:
        rows = [f"{c.name}: {getattr(c, attribute)}" for c in chosen]
    return f"{_LABELS[attribute]} index.\n" + "\n".join(rows)


def _build_sheet(random, conditions):
    c = random.choice(conditions)
    rows = [f"{_LABELS[a]}: {getattr(c, a)}" for a in random.sample(ATTRIBUTES, random.between(4, 8))]
    return f"{c.name}\n" + "\n".join(rows)


def _build_comparison(random, conditions):
    first, second = random.sample(conditions, 2)
    parts = [f"{first.name} and {second.name} are easily confused."]
    for attribute in random.sample(ATTRIBUTES, 3):
        parts += [_state(random, first, attribute), _state(random, second, attribute)]
    return " ".join(parts)


KINDS = ((_build_chapter, 5), (_build_note, 4), (_build_abstract, 2), (_build_monograph, 3), (_build_education, 6), (_build_index, 2),
         (_build_sheet, 2), (_build_comparison, 2))
_URN = [build for build, weight in KINDS for _ in range(weight)]


def build_document(seed, split, number, conditions):
    """One document of about 30 to 130 words; the same (seed, split, number) gives the same text."""
    random = KeyedRandom(seed, "clinical", split, number)
    return random.choice(_URN)(random, conditions)
