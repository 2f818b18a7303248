"""Names of what a study compares: versions of a model (P^t, P^t+F, P^t+F+N(alpha)) and ways of asking it."""

import typing

import pandas

_SIZES = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"))
METHOD_NAMES = {"zero-shot": "zero-shot", "few-shot": "few-shot", "cot": "CoT", "cot-sc": "CoT self-consistency", "medprompt": "MedPrompt"}


def short_tokens(tokens, space=""):
    """1.5B for 1,500,000,000; "" for none."""
    if pandas.isna(tokens) or tokens == "":
        return ""
    tokens = float(tokens)
    for size, letter in _SIZES:
        if tokens >= size:
            return f"{tokens / size:.3g}{space}{letter}"
    return f"{tokens:.0f}"


class Version(typing.NamedTuple):
    """Sorts by tokens, then as a study makes them: before fine-tuning, after it, with NEFTune."""
    tokens: int  # of continued pretraining, t
    fine_tuned: bool
    alpha: float  # NEFTune's; 0 = without

    @property
    def family(self):
        """The version without its t: a line in a figure over t."""
        return "P^t" + self._suffix

    @property
    def name(self):
        return f"P^{short_tokens(self.tokens)}" + self._suffix

    @property
    def _suffix(self):
        return ("+F" if self.fine_tuned else "") + (f"+N({self.alpha:g})" if self.alpha else "")


def version_of(row):
    """Of a row of a score table."""
    return Version(int(row["tokens_seen"]), bool(int(row["fine_tuned"])), float(row["neftune_alpha"]))


def method_of(row):
    """How a model was asked, as shown: strategy, shots of few-shot, and whether the answer was written by the model."""
    strategy = str(row["strategy"]).split("-no-")[0]  # of an ablation, which has a column of its own
    name = METHOD_NAMES.get(strategy, strategy)
    if strategy == "few-shot":
        name += f" ({int(row['shots'])})"
    if strategy in ("zero-shot", "few-shot") and row.get("scoring") == "generation":
        name += ", generated"
    return name


def method_rank(method):
    """Sorting key of shown methods: zero-shot first, MedPrompt last, unknown ones behind; by likelihood before generated."""
    bases = list(METHOD_NAMES.values())
    base = next((i for i, name in enumerate(bases) if method == name or method.startswith((f"{name} (", f"{name},"))), len(bases))
    return base, "generated" in method, method
