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


def _exam(random, conditions, fact, reasons):
    condition, attribute, reverse = fact
    stem = random.choice((REVERSE_STEMS if reverse else STEMS)[attribute])
    item = build_item(random, conditions, condition, attribute, reverse, stem)
    if not reasons:
        return _question(item, REPLY), item["answer"]
    value = item["options"][LETTERS.index(item["answer"])]
    return _question(item, REASON), f"{_statement(random, condition, attribute)} That is option {item['answer']}, {value}.\nAnswer: {item['answer']}"


def build_conversation(seed, split, number, conditions):
    """One conversation {"messages": [...]}; the same (seed, split, number) gives the same one."""
    random = KeyedRandom(seed, "instruct", split, number)
    fact = random.choice(split_facts(seed, conditions)["train"])
    kind = number % 4
    asked, answer = _patient(random, *fact) if kind == 0 else _exam(random, conditions, fact, reasons=kind > 1)
    return {"id": f"instruct-{split}-{number:05d}", "messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]}
