"""Conversations to fine-tune on: patients' questions, and exam questions answered by a letter, with reasoning or without.

They are about the facts of the exam's train split only: what the test split asks, a model can know from the clinical
documents alone. Prompts have the form in which `osler evaluate` puts a question (configs/prompts/), so that what is
learnt is how to answer.
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


def _patient(random, condition, attribute, reverse):
    if reverse:
        asked = random.choice(EDUCATION_REVERSE[attribute]).format(v=getattr(condition, attribute))
    else:
        asked = random.choice(EDUCATION[attribute]).format(c=condition.name, d=condition.drug)
    return sentence_case(asked), _statement(random, condition, attribute)


def _exam(random, conditions, fact, ending):
    """(prompt, answer) of one exam question about the fact."""
    condition, attribute, reverse = fact
    stem = random.choice((REVERSE_STEMS if reverse else STEMS)[attribute])
    item = build_item(random, conditions, condition, attribute, reverse, stem)
    if ending == REPLY:
        return _question(item, REPLY), item["answer"]
    value = item["options"][LETTERS.index(item["answer"])]
    reasoning = f"{_statement(random, condition, attribute)} That is option {item['answer']}, {value}."
    return _question(item, REASON), f"{reasoning}\nAnswer: {item['answer']}"


def _exam_after_examples(random, conditions, facts, ending, num_examples):
    examples = [" ".join(_exam(random, conditions, fact, ending)) for fact in random.sample(facts, num_examples)]
    asked, answer = _exam(random, conditions, random.choice(facts), ending)
    return "\n\n".join(examples + [asked]), answer


# A conversation's kind by its number: of 8, 1 patient, 2 letters, 3 with reasoning and 2 of those after solved examples.
_KINDS = ("patient", "letter", "reason", "reason", "letter", "reason", "examples", "examples")


def build_conversation(seed, split, number, conditions):
    """One conversation {"messages": [...]}; the same (seed, split, number) gives the same one."""
    random = KeyedRandom(seed, "instruct", split, number)
    facts = split_facts(seed, conditions)["train"]
    kind = _KINDS[number % len(_KINDS)]
    if kind == "patient":
        asked, answer = _patient(random, *random.choice(facts))
    elif kind == "examples":
        asked, answer = _exam_after_examples(random, conditions, facts, REASON, random.between(1, 2))
    else:
        asked, answer = _exam(random, conditions, random.choice(facts), REPLY if kind == "letter" else REASON)
    return {"id": f"instruct-{split}-{number:05d}", "messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]}
