"""Conversations to fine-tune on: patients' questions, and exam questions answered by a letter, with reasoning or without.

Questions are worded as the patients' of the clinical documents; those about facts of the exam's train split also as the exam
words them. What the test and dev splits ask is never asked in the exam's words. Prompts have the form in which `osler evaluate`
puts a question (configs/prompts/).
"""

from .clinical import EDUCATION, EDUCATION_REVERSE, STATEMENTS
from .exam import REVERSE_STEMS, STEMS, build_item, split_facts
from .general import sentence_case
from .keyed_random import KeyedRandom

LETTERS = "ABCD"
REPLY = "Reply with one of A, B, C or D and nothing else.\nAnswer:"
REASON = 'Think step by step, then end with a line that reads "Answer: " and one of A, B, C or D.\nReasoning:'


def _statement(random, condition, attribute):
    return sentence_case(random.choice(STATEMENTS[attribute]).format(c=condition.name, v=getattr(condition, attribute), d=condition.drug))


def _question(item, ending):
    options = "\n".join(f"{letter}. {text}" for letter, text in zip(LETTERS, item["options"]))
    return f"Question: {item['question']}\n{options}\n{ending}"


def _stem(random, fact, train_facts):
    _, attribute, reverse = fact
    stems = list((EDUCATION_REVERSE if reverse else EDUCATION)[attribute])
    if fact in train_facts:
        stems += (REVERSE_STEMS if reverse else STEMS)[attribute]
    return random.choice(stems)


def _patient(random, condition, attribute, reverse):
    asked = random.choice((EDUCATION_REVERSE if reverse else EDUCATION)[attribute])
    return (sentence_case(asked.format(c=condition.name, d=condition.drug, v=getattr(condition, attribute))),
            _statement(random, condition, attribute))


def _exam(random, conditions, fact, train_facts, ending):
    """(prompt, answer) of one question with options about the fact."""
    condition, attribute, reverse = fact
    stem = _stem(random, fact, train_facts)
    item = build_item(random, conditions, condition, attribute, reverse, stem)
    if ending == REPLY:
        return _question(item, REPLY), item["answer"]
    verdicts = " ".join(f"{letter}. {text}: {'yes' if letter == item['answer'] else 'no'}." for letter, text in zip(LETTERS, item["options"]))
    return _question(item, REASON), f"{_statement(random, condition, attribute)} {verdicts}\nAnswer: {item['answer']}"


def _exam_after_examples(random, conditions, facts, train_facts, ending, num_examples):
    examples = [" ".join(_exam(random, conditions, fact, train_facts, ending)) for fact in random.sample(facts, num_examples)]
    asked, answer = _exam(random, conditions, random.choice(facts), train_facts, ending)
    return "\n\n".join(examples + [asked]), answer


# A conversation's kind by its number: of 8, 1 patient, 2 letters, 3 with reasoning and 2 of those after solved examples.
_KINDS = ("patient", "letter", "reason", "reason", "letter", "reason", "examples", "examples")


def build_conversation(seed, split, number, conditions):
    """One conversation {"messages": [...]}; the same (seed, split, number) gives the same one."""
    random = KeyedRandom(seed, "instruct", split, number)
    splits = split_facts(seed, conditions)
    facts, train_facts = [fact for split in splits.values() for fact in split], splits["train"]
    kind = _KINDS[number % len(_KINDS)]
    if kind == "patient":
        asked, answer = _patient(random, *random.choice(facts))
    elif kind == "examples":
        asked, answer = _exam_after_examples(random, conditions, facts, train_facts, REASON, random.between(1, 2))
    else:
        asked, answer = _exam(random, conditions, random.choice(facts), train_facts, REPLY if kind == "letter" else REASON)
    return {"id": f"instruct-{split}-{number:05d}", "messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]}
