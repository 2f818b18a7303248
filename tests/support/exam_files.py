"""Invented benchmark files in the native formats of MedQA, MedMCQA, PubMedQA and MMLU, and a model with its tokenizer to
score them with. Nothing here is taken from a real benchmark; equal seeds give equal files."""

import csv
import json
import pathlib
import random

MMLU_CLINICAL = ["anatomy", "clinical_knowledge", "college_biology", "college_medicine", "medical_genetics", "professional_medicine"]

_NOUNS = ("fever", "cough", "tremor", "rash", "oedema", "pallor", "vertigo", "stridor", "ataxia", "jaundice", "dyspnœa", "naïveté")
_DRUGS = ("melorin", "tazobrine", "quintavir", "ostrelin", "parvodex", "lumetine", "β-carenol", "dextrofane")
_PLACES = ("liver", "left kidney", "spleen", "upper lobe", "retina", "small bowel", "skin", "marrow")


def sentence(rng):
    return (f"A {rng.randrange(3, 95)}-year-old with {rng.choice(_NOUNS)} and {rng.choice(_NOUNS)} takes {rng.choice(_DRUGS)} "
            f"{rng.choice((5, 10, 25))} mg; the {rng.choice(_PLACES)} is {rng.choice(('tender', 'enlarged', 'pale', 'spared'))}.")


def stem(rng, sentences=2):
    return " ".join(sentence(rng) for _ in range(sentences)) + f" Which {rng.choice(('drug', 'site', 'finding'))} is next?"


def options(rng, count):
    return rng.sample([*_DRUGS, *_PLACES, *(f"{n}, then {d}" for n, d in zip(_NOUNS, _DRUGS))], count)


def write_lines(path, records):
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8")
    return path


def medqa_records(rng, count, num_options=4, long_every=0):
    records = []
    for i in range(count):
        answers = dict(zip("ABCDE", options(rng, num_options)))
        letter = rng.choice(list(answers))
        length = 40 if long_every and i % long_every == 0 else rng.randrange(1, 4)
        records.append({"question": stem(rng, length), "answer": answers[letter], "options": answers, "answer_idx": letter})
    return records


def medmcqa_records(rng, count, first=0):
    records = []
    for i in range(count):
        answers = options(rng, 4)
        # The first rows hold 0 and 3 (or 1 and 4), so that the file tells from where it counts.
        records.append({"id": f"q{i}", "question": stem(rng, 1), **dict(zip(("opa", "opb", "opc", "opd"), answers)),
                        "cop": first + (3 * i if i < 2 else rng.randrange(4)), "subject_name": "Invented", "exp": None})
    return records


def pubmedqa_records(rng, count):
    return {str(10_000 + i): {"QUESTION": f"Does {rng.choice(_DRUGS)} relieve {rng.choice(_NOUNS)}?",
                              "CONTEXTS": [sentence(rng) for _ in range(rng.randrange(1, 4))], "LABELS": ["METHODS"],
                              "LONG_ANSWER": "It may.", "final_decision": rng.choice(("yes", "no", "maybe"))}
            for i in range(count)}


def mmlu_rows(rng, count):
    # White space around the question, a comma, a quote and a line break: what RFC 4180 and lm-eval's strip() are for.
    return [[rng.choice(("", " ", "\n")) + stem(rng, 1) + rng.choice((' He says "so".\n', "", "  ")), *options(rng, 4), rng.randrange(4)]
            for _ in range(count)]


def write_mmlu(path, rows, letters=True, header=False):
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if header:
            writer.writerow(["question", "choice0", "choice1", "choice2", "choice3", "answer"])
        for row in rows:
            writer.writerow([*row[:5], "ABCD"[row[5]] if letters else row[5]])
    return path


def make_tokenizer(folder, vocab_size=420):
    """A SentencePiece BPE model built as Llama's and Mistral's are: no normalisation, every space kept, byte fallback."""
    import sentencepiece

    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(5)
    lines = [stem(rng) for _ in range(200)] + [f"Question: Answer: Abstract: Choices: {letter}. yes no maybe" for letter in "ABCDE"] * 5
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_prefix=str(folder / "tokenizer"), vocab_size=vocab_size, model_type="bpe",
        byte_fallback=True, character_coverage=1.0, normalization_rule_name="identity", remove_extra_whitespaces=False,
        split_digits=True, unk_id=0, bos_id=1, eos_id=2, pad_id=-1, minloglevel=2, num_threads=1)
    (folder / "tokenizer.vocab").unlink()
    _write_fast_tokenizer(folder)
    (folder / "tokenizer_config.json").write_text(json.dumps({
        "tokenizer_class": "LlamaTokenizer", "add_bos_token": True, "add_eos_token": False, "legacy": True,
        "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "clean_up_tokenization_spaces": False}))
    return folder


def _write_fast_tokenizer(folder):
    """tokenizer.json of the same SentencePiece model, built as in the released Mistral-7B: transformers 5 reads only that."""
    import sentencepiece
    import tokenizers

    model = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    vocab = {model.id_to_piece(i): i for i in range(model.vocab_size())}
    merges = []
    for piece, i in sorted(vocab.items(), key=lambda entry: -model.get_score(entry[1])):   # the best score merges first
        if not (model.is_control(i) or model.is_byte(i) or model.is_unknown(i)):
            merges += sorted(((piece[:k], piece[k:]) for k in range(1, len(piece)) if piece[:k] in vocab and piece[k:] in vocab),
                             key=lambda pair: (vocab[pair[0]], vocab[pair[1]]))
    fast = tokenizers.Tokenizer(tokenizers.models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    fast.normalizer = tokenizers.normalizers.Sequence([tokenizers.normalizers.Prepend("▁"), tokenizers.normalizers.Replace(" ", "▁")])
    fast.post_processor = tokenizers.processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)])
    fast.add_special_tokens(["<unk>", "<s>", "</s>"])
    fast.save(str(folder / "tokenizer.json"))


def make_parrot(folder, prompt_end, says):
    """A model that says `says` and ends whenever the text before ends as `prompt_end` does: attention and feed-forward add nothing, so that
    the next token is a function of the last one."""
    import safetensors.torch
    import sentencepiece
    import torch

    make_model(folder, initializer_range=1.0, max_position_embeddings=2048)
    tokenizer = sentencepiece.SentencePieceProcessor(model_file=str(pathlib.Path(folder) / "tokenizer.model"))
    start = tokenizer.encode(prompt_end)
    chain = [start[-1], *tokenizer.encode(prompt_end + says)[len(start):], tokenizer.eos_id()]
    assert tokenizer.encode(prompt_end + says)[:len(start)] == start and len(set(chain)) == len(chain), chain
    weights = safetensors.torch.load_file(pathlib.Path(folder) / "model.safetensors")
    for name in weights:
        if "o_proj" in name or "down_proj" in name or name == "lm_head.weight":
            weights[name].zero_()
    embedding = weights["model.embed_tokens.weight"]
    for token, after in zip(chain, chain[1:]):
        weights["lm_head.weight"][after] += embedding[token] / embedding[token].pow(2).mean().sqrt()
    safetensors.torch.save_file(weights, pathlib.Path(folder) / "model.safetensors", metadata={"format": "pt"})
    return pathlib.Path(folder)


def make_model(folder, mixture=False, vocab_size=420, **overrides):
    """A Hugging Face directory with random weights, far enough from uniform that options differ."""
    import torch
    import transformers

    sizes = dict(vocab_size=vocab_size, hidden_size=48, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
                 num_key_value_heads=2, max_position_embeddings=512, rms_norm_eps=1e-5, initializer_range=0.2,
                 rope_parameters={"rope_type": "default", "rope_theta": 1e4}, sliding_window=None, bos_token_id=1, eos_token_id=2)
    if mixture:
        sizes |= dict(num_local_experts=4, num_experts_per_tok=2)
    kind = "Mixtral" if mixture else "Mistral"
    torch.manual_seed(17)
    config = getattr(transformers, f"{kind}Config")(**(sizes | overrides))
    model = getattr(transformers, f"{kind}ForCausalLM")(config).float()
    model.save_pretrained(folder)
    make_tokenizer(folder, vocab_size)
    return pathlib.Path(folder)
