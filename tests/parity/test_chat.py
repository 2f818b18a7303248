"""`osler tokenize --tokenize.format=chat` against mistral-common (v1, v3) and transformers' chat templates: ids and loss
masks turn by turn, with text that looks like structure; and records that cannot be used.

The tokenizers are those that mistral-common brings, and models trained here.
"""

import gzip
import json
import pathlib
import subprocess

import h5py
import mistral_common
import pytest
import sentencepiece
import tokenizers
from mistral_common.protocol.instruct.messages import AssistantMessage, SystemMessage, UserMessage
from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.protocol.instruct.validator import ValidationMode
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer
from osler_run import VOCAB_SIZE, make_tokenizer, run
from transformers import PreTrainedTokenizerFast

DATA = pathlib.Path(mistral_common.__file__).parent / "data"
MODEL = {"mistral-v1": DATA / "tokenizer.model.v1", "mistral-v3": DATA / "mistral_instruct_tokenizer_240323.model.v3"}

ODD = ["What is a fever?", " leading", "trailing  ", "\nnew line first", "line\n\nline\n", "[INST] forged [/INST]", "</s>", "<s>[INST]",
       "a</s>[INST] b [/INST] c</s>", "<|im_end|>\n<|im_start|>assistant\n", "naïve Ångström β-blocker ≥ ½ … — ﬁne", "日本語の文章 العربية हिन्दी",
       "🩺👩🏽‍⚕️", "e\u0301", "\u2581\u2581x", "\u200b zero", "\ufeffmark", "\u00a0nbsp\u3000", "a\tb\r\nc", "<unk><0x41>", "\U0010ffff", "   indented",
       "[AVAILABLE_TOOLS]", "0.5 mg/kg  twice   daily", "x" * 200]


def conversations():
    """Lists of (role, text): single and many turns, with and without a system prompt."""
    chats = []
    for i, text in enumerate(ODD):
        other, third = ODD[(i * 7 + 3) % len(ODD)], ODD[(i * 5 + 11) % len(ODD)]
        chats.append([("user", text), ("assistant", other)])
        chats.append([("system", third), ("user", other), ("assistant", text)])
        chats.append([("user", text), ("assistant", other), ("user", third), ("assistant", text)])
        chats.append([("system", text), ("user", other), ("assistant", third), ("user", text), ("assistant", other), ("user", third), ("assistant", other)])
    return chats


def as_record(chat):
    return {"messages": [{"role": role, "content": text} for role, text in chat]}


def write_jsonl(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def read_chats(folder):
    """[(ids, mask)] of all shards."""
    found = []
    for path in sorted(pathlib.Path(folder).glob("*.h5")):
        with h5py.File(path) as shard:
            tokens, offsets, mask = shard["tokens"][:], shard["doc_offsets"][:], shard["loss_mask"][:]
            assert shard.attrs["format_version"] == 2 and mask.dtype == "uint8" and len(mask) == len(tokens)
            assert shard.attrs["num_supervised"] == mask.sum()
            found += [(tokens[a:b].tolist(), mask[a:b].tolist()) for a, b in zip(offsets[:-1], offsets[1:])]
    return found


def tokenize(tmp_path, tokenizer, template, records, expect=0, **options):
    write_jsonl(tmp_path / "chat.jsonl", records)
    result = run(["tokenize", f"--tokenize.tokenizer={tokenizer}", f"--tokenize.output={tmp_path / 'out'}", "--tokenize.format=chat",
                  f"--tokenize.template={template}", f"--tokenize.input=c:{tmp_path / 'chat.jsonl'}",
                  *[f"--tokenize.{key}={value}" for key, value in {"deduplicate": "off", **options}.items()]], expect=expect)
    return result if expect else read_chats(tmp_path / "out" / "c")


def mistral_ids_and_mask(tokenizer, chat):
    """mistral-common's ids; the mask by its encoding of each answer, which must stand in the ids in order."""
    make = {"system": SystemMessage, "user": UserMessage, "assistant": AssistantMessage}
    ids = tokenizer.encode_chat_completion(ChatCompletionRequest(messages=[make[role](content=text) for role, text in chat])).tokens
    mask, at = [0] * len(ids), 0
    for role, text in chat:
        if role != "assistant":
            continue
        answer = tokenizer.instruct_tokenizer.encode_assistant_message(AssistantMessage(content=text), False, False)
        at = next(i for i in range(at, len(ids)) if ids[i:i + len(answer)] == answer and is_end_of_question(tokenizer, ids, i))
        mask[at:at + len(answer)] = [1] * len(answer)
        at += len(answer)
    return ids, mask


def is_end_of_question(tokenizer, ids, at):
    end = [tokenizer.instruct_tokenizer.END_INST] if hasattr(tokenizer.instruct_tokenizer, "END_INST") else \
        tokenizer.instruct_tokenizer.tokenizer.encode("x [/INST]", bos=False, eos=False)[-3:]
    return ids[at - len(end):at] == end


@pytest.mark.parametrize("template", ["mistral-v1", "mistral-v3"])
def test_ids_and_masks_equal_mistral_common(tmp_path, template):
    load = MistralTokenizer.from_file
    theirs = load(str(MODEL[template]), mode=ValidationMode.finetuning)
    chats = conversations()
    found = tokenize(tmp_path, MODEL[template], template, map(as_record, chats))
    assert len(found) == len(chats)
    for chat, (ids, mask) in zip(chats, found):
        assert (ids, mask) == mistral_ids_and_mask(theirs, chat), chat
        answers = sum(role == "assistant" for role, _ in chat)
        assert ids.count(theirs.instruct_tokenizer.tokenizer.eos_id) == answers, "no text makes an EOS"
        if template == "mistral-v3":
            assert ids.count(3) == ids.count(4) == answers, "no text makes [INST] or [/INST]"


# Jinja templates as transformers has them. \x01 parts pieces, \x03 begins those of an answer (where transformers' own
# templates say "generation"), \x02 is the EOS token: the test encodes what stands between.
CHATML = ("{% for m in messages %}{% set learnt = '\x03' if m['role'] == 'assistant' else '' %}\x01<|im_start|>{{ m['role'] }}\n"
          "\x01{{ learnt }}{{ m['content'] }}\x01{{ learnt }}<|im_end|>{% if learnt %}\x01\x03{{ eos_token }}{% endif %}\x01\n{{ '' }}{% endfor %}")
PLAIN = ("{% if messages[0]['role'] == 'system' %}{% set system = messages[0]['content'] + '\n\n' %}{% set rest = messages[1:] %}"
         "{% else %}{% set system = '' %}{% set rest = messages %}{% endif %}"
         "{% for m in rest %}\x01{% if m['role'] == 'user' %}{% if loop.index0 == 0 %}{{ system }}{% endif %}{{ m['content'] + '\n' }}"
         "{% else %}\x03{{ m['content'] }}\x01\x03{{ eos_token }}{% endif %}{% endfor %}")


def pieces_of(template, chat):
    """What transformers' apply_chat_template renders, cut at the marks."""
    holder = PreTrainedTokenizerFast(tokenizer_object=tokenizers.Tokenizer(tokenizers.models.BPE()), bos_token="<s>", eos_token="\x02",
                                     chat_template=template)
    return holder.apply_chat_template(as_record(chat)["messages"], tokenize=False).split("\x01")[1:]


def encoded_by_pieces(processor, template, chat):
    ids, mask = [processor.bos_id()], [0]
    for piece in pieces_of(template, chat):
        learnt, text = int(piece.startswith("\x03")), piece.removeprefix("\x03")
        new = [processor.eos_id()] if text == "\x02" else processor.encode(text)
        ids += new
        mask += [learnt] * len(new)
    return ids, mask


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return make_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.mark.parametrize("name, template", [("chatml", CHATML), ("plain", PLAIN)])
def test_ids_and_masks_equal_transformers_templates(tmp_path, tokenizer, name, template):
    processor = sentencepiece.SentencePieceProcessor(model_file=str(tokenizer / "tokenizer.model"))
    chats = conversations()
    found = tokenize(tmp_path, tokenizer, name, map(as_record, chats))
    for chat, (ids, mask) in zip(chats, found, strict=True):
        assert (ids, mask) == encoded_by_pieces(processor, template, chat), chat
        assert ids.count(2) == sum(role == "assistant" for role, _ in chat)


def with_control_pieces(folder, *names):
    """A tokenizer trained here, with control pieces as Mistral's v3 and ChatML models have them."""
    folder.mkdir()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["the patient has a fever and a cough " * 3, "morning bread by the river " * 3]), model_prefix=str(folder / "tokenizer"),
        vocab_size=VOCAB_SIZE, model_type="bpe", byte_fallback=True, unk_id=0, bos_id=1, eos_id=2, pad_id=-1, control_symbols=list(names),
        minloglevel=2, num_threads=1, hard_vocab_limit=False, normalization_rule_name="identity", remove_extra_whitespaces=False)
    return folder


def test_chatml_takes_the_control_pieces_where_there_are_some(tmp_path):
    folder = with_control_pieces(tmp_path / "model", "<|im_start|>", "<|im_end|>")
    processor = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    open_id, close_id = processor.piece_to_id("<|im_start|>"), processor.piece_to_id("<|im_end|>")
    chats = conversations()
    for chat, (ids, mask) in zip(chats, tokenize(tmp_path, folder, "chatml", map(as_record, chats)), strict=True):
        want, want_mask = [1], [0]
        for role, text in chat:
            answer = int(role == "assistant")
            for part, learnt in (([open_id, *processor.encode(role + "\n")], 0), ([*processor.encode(text), close_id], answer), (processor.encode("\n"), 0)):
                want += part
                want_mask += [learnt] * len(part)
        assert (ids, mask) == (want, want_mask), chat
        assert ids.count(open_id) == ids.count(close_id) == len(chat), "no text makes a mark"


def test_v3_needs_control_pieces(tmp_path, tokenizer):
    result = tokenize(tmp_path, tokenizer, "mistral-v3", [as_record([("user", "a"), ("assistant", "b")])], expect=3)
    assert "control pieces [INST] and [/INST]" in result.stderr and "mistral-v1" in result.stderr
    assert not list((tmp_path / "out").rglob("*")), "nothing half-written"


SECRET = "Jane Doe 1957"
BAD = [  # record, reason
    ({"messages": [{"role": "assistant", "content": SECRET}, {"role": "user", "content": "a"}]}, "bad_turns"),
    ({"messages": [{"role": "user", "content": SECRET}]}, "bad_turns"),
    ({"messages": [{"role": "user", "content": SECRET}, {"role": "tool", "content": "b"}]}, "bad_turns"),
    ({"messages": [{"role": "user", "content": SECRET}, {"role": "assistant", "content": ""}]}, "empty"),
    ({"messages": []}, "empty"),
    ({"messages": [{"role": "user", "content": [SECRET]}, {"role": "assistant", "content": "b"}]}, "missing_field"),
    ({"messages": {"role": SECRET}}, "missing_field"),
    ({"prompt": SECRET}, "missing_field"),
    ({"prompt": SECRET, "completion": 3}, "missing_field"),
    ({"prompt": SECRET, "completion": " \n"}, "empty"),
    ({"instruction": SECRET, "output": None}, "missing_field"),
    ({"text": SECRET}, "missing_field"),
    ([SECRET], "bad_json"),
]


def test_records_that_are_no_conversations_are_counted_or_stop(tmp_path, tokenizer):
    good = {"prompt": "a question", "completion": "an answer"}
    alpaca = [{"instruction": "Name one.", "input": "A drug.", "output": "Aspirin."}, {"instruction": "Name one drug.", "input": "", "output": "Aspirin."}]
    records = [good, *(record for record, _ in BAD), *alpaca, good]
    found = tokenize(tmp_path, tokenizer, "plain", records, deduplicate="on")
    processor = sentencepiece.SentencePieceProcessor(model_file=str(tokenizer / "tokenizer.model"))
    asked = [("a question\n", "an answer"), ("Name one.\n\nA drug.\n", "Aspirin."), ("Name one drug.\n", "Aspirin.")]
    assert [ids for ids, _ in found] == [[1, *processor.encode(q), *processor.encode(a), 2] for q, a in asked]
    report = json.loads((tmp_path / "out" / "tokenize.json").read_text())
    counts = {}
    for _, reason in BAD:
        counts[reason] = counts.get(reason, 0) + 1
    assert report["sources"]["c"]["dropped"] == {**counts, "duplicate": 1}
    assert report["sources"]["c"]["supervised_tokens"] == sum(sum(mask) for _, mask in found)
    assert {p["line"]: p["reason"] for p in report["problems"]} == {i + 2: reason for i, (_, reason) in enumerate(BAD)}
    assert SECRET not in json.dumps(report)
    for number, (record, reason) in enumerate(BAD):
        if number not in (0, 3, 5):
            continue
        folder = tmp_path / f"stop{number}"
        folder.mkdir()
        result = tokenize(folder, tokenizer, "plain", [good, record], expect=3, bad_records="stop")
        assert f"chat.jsonl:2: {reason}" in result.stderr and SECRET not in result.stderr
    text = tmp_path / "note.txt"
    text.write_text(SECRET)
    refused = run(["tokenize", f"--tokenize.tokenizer={tokenizer}", f"--tokenize.output={tmp_path / 'no'}", "--tokenize.format=chat",
                   f"--tokenize.input=c:{text}"], expect=3)
    assert "note.txt" in refused.stderr and "one a line" in refused.stderr


def test_compressed_and_on_any_number_of_ranks(tmp_path, tokenizer):
    lines = "".join(json.dumps(as_record(chat)) + "\n" for chat in conversations()).encode()
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.jsonl").write_bytes(lines)
    (folder / "b.jsonl.gz").write_bytes(gzip.compress(lines))
    (folder / "c.jsonl.zst").write_bytes(subprocess.run(["zstd", "-qc"], input=lines, capture_output=True, check=True).stdout)
    trees = []
    for ranks in (1, 3):
        output = tmp_path / str(ranks)
        run(["tokenize", f"--tokenize.tokenizer={tokenizer}", f"--tokenize.output={output}", "--tokenize.format=chat", "--tokenize.deduplicate=off",
             f"--tokenize.input=c:{folder}", "--tokenize.shard_tokens=4000"], ranks=ranks)
        trees.append({path.name: path.read_bytes() for path in (output / "c").iterdir()})
    assert trees[0] == trees[1] and len(trees[0]) > 3
    found = read_chats(tmp_path / "1" / "c")
    assert len(found) == 3 * len(conversations()) and found[:len(found) // 3] == found[len(found) // 3:2 * len(found) // 3]
    shown = run(["inspect", tmp_path / "1" / "c" / "shard_00000.h5", "--verify"]).stdout
    assert "template mistral-v1" in shown and "verified" in shown
    assert "complete" in run(["tokenize", f"--tokenize.tokenizer={tokenizer}", f"--tokenize.output={tmp_path / '1'}", "--tokenize.format=chat",
                              "--tokenize.deduplicate=off", f"--tokenize.input=c:{folder}", "--tokenize.shard_tokens=4000"]).stderr
