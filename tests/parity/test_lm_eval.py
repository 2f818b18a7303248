"""Osler's evaluation against lm-eval 0.4.13 itself, with the same exported model on the same invented items.

The tasks are lm-eval's own (their YAML files are included, prompts and targets with them); only the data are local.
Tolerance: 1e-3 on each log-likelihood in fp32, where both sum a few rounded logits of magnitude 10.
"""

import json
import os
import pathlib
import random

import pytest

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")

import lm_eval
import lm_eval.tasks
import sentencepiece
import torch
import transformers
import yaml
from lm_eval.models.huggingface import HFLM

import exam_files
from osler_run import run

TASKS = pathlib.Path(lm_eval.tasks.__file__).parent
TOLERANCE = 1e-3
NUM_TRAIN = 30
TEXTS = ("Question: What?\nA. liver\nB. skin\nAnswer:", "Answer: A", " leading", "double  space", "β-carenol — naïve\t½\n\n  x", "7 & 19.5 mg")


class LocalTasks:
    """The same items twice: in the form that lm-eval's task expects, and in the benchmark's own file for Osler."""

    def __init__(self, root):
        self.root = root
        self.yaml = root / "tasks"
        self.yaml.mkdir(parents=True)
        self.arguments = []
        self.train_arguments = []
        rng = random.Random(29)
        self.medqa(rng)
        self.medmcqa(rng)
        self.pubmedqa(rng)
        for subject in exam_files.MMLU_CLINICAL:
            self.mmlu(rng, subject)
        (self.yaml / "multimedqa.yaml").write_text(yaml.safe_dump({"include": str(TASKS / "benchmarks/multimedqa/multimedqa.yaml")}))

    def add(self, name, base, docs, write):
        """`docs` in lm-eval's form; `write(path, first, last)` writes a part of them in the benchmark's own. The last 30 are the training split."""
        files = {}
        for split, part in (("test", slice(0, len(docs) - NUM_TRAIN)), ("train", slice(len(docs) - NUM_TRAIN, None))):
            files[split] = str(exam_files.write_lines(self.root / f"{name}_{split}_local.jsonl", docs[part]))
            native = self.root / f"{name}_{split}_native"
            write(native, part)
            (self.arguments if split == "test" else self.train_arguments).append(f"--eval.{'task' if split == 'test' else 'train'}={name}:{native}")
        config = {"include": str(TASKS / base), "dataset_path": "json", "dataset_name": None, "dataset_kwargs": {"data_files": files},
                  "training_split": "train", "validation_split": None, "test_split": "test", "task": name}
        if base.startswith("mmlu"):
            config |= {"training_split": None, "fewshot_split": "train"}    # as dev there: the first n, in order
        (self.yaml / f"{name}.yaml").write_text(yaml.safe_dump(config))

    def medqa(self, rng):
        records = exam_files.medqa_records(rng, 50 + NUM_TRAIN, long_every=9)   # some are longer than the model's positions
        docs = [{"sent1": r["question"], **{f"ending{i}": r["options"]["ABCD"[i]] for i in range(4)}, "label": "ABCD".index(r["answer_idx"])}
                for r in records]
        self.add("medqa_4options", "medqa/medqa.yaml", docs, lambda path, part: exam_files.write_lines(path, records[part]))

    def medmcqa(self, rng):
        records = exam_files.medmcqa_records(rng, 50 + NUM_TRAIN, first=1)      # the authors' files count from 1, lm-eval's data from 0
        docs = [r | {"cop": r["cop"] - 1} for r in records]
        self.add("medmcqa", "medmcqa/medmcqa.yaml", docs, lambda path, part: exam_files.write_lines(path, records[part]))

    def pubmedqa(self, rng):
        records = exam_files.pubmedqa_records(rng, 40 + NUM_TRAIN)
        for key, record in records.items():     # an exemplar that stands in the evaluated split would be left out
            record["QUESTION"] = record["QUESTION"].replace("?", f" in trial {key}?")
        self.add("pubmedqa", "pubmedqa/pubmedqa.yaml", list(records.values()), lambda path, part: path.write_text(
            json.dumps(dict(list(records.items())[part]), indent=1, ensure_ascii=False), encoding="utf-8"))

    def mmlu(self, rng, subject):
        rows = exam_files.mmlu_rows(rng, 10 + NUM_TRAIN)
        docs = [{"question": r[0], "choices": r[1:5], "answer": r[5]} for r in rows]
        self.add(f"mmlu_{subject}", f"mmlu/default/mmlu_{subject}.yaml", docs, lambda path, part: exam_files.write_mmlu(
            path, rows[part], letters=subject != "anatomy", header=subject == "anatomy"))


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    return LocalTasks(tmp_path_factory.mktemp("tasks"))


@pytest.fixture(scope="module", params=["mistral", "mixtral"])
def model(request, tmp_path_factory):
    window = 40 if request.param == "mistral" else None
    return exam_files.make_model(tmp_path_factory.mktemp(request.param), mixture=request.param == "mixtral",
                                 max_position_embeddings=700, sliding_window=window)


def theirs(model, tasks, cache, shots=None):
    os.environ["HF_DATASETS_CACHE"] = str(cache)
    torch.set_num_threads(1)
    manager = lm_eval.tasks.TaskManager(include_path=str(tasks.yaml), include_defaults=False)
    hf = HFLM(pretrained=str(model), dtype="float32", device="cpu", batch_size=8)
    return lm_eval.simple_evaluate(model=hf, tasks=["multimedqa"], task_manager=manager, bootstrap_iters=10, log_samples=True, num_fewshot=shots)


def samples(folder, task):
    return [json.loads(line) for line in (folder / f"samples_{task}.jsonl").read_text(encoding="utf-8").splitlines()]


def test_the_tokenizer_gives_the_same_ids(model):
    ours = sentencepiece.SentencePieceProcessor(model_file=str(model / "tokenizer.model"))
    hf = transformers.AutoTokenizer.from_pretrained(model)
    for text in TEXTS:
        assert hf.encode(text) == [1, *ours.encode(text)], text


@pytest.mark.parametrize("shots", [0, 2, 7], ids=lambda shots: f"{shots} shots")   # up to 5 and above it Python draws in two ways
def test_log_likelihoods_prompts_accuracies_and_errors_are_equal(model, tasks, tmp_path, shots):
    few_shot = ["--eval.strategy=few-shot", f"--eval.shots={shots}", *tasks.train_arguments] if shots else []
    run(["evaluate", f"--eval.model={model}", *tasks.arguments, *few_shot, f"--eval.output={tmp_path / 'eval'}", "--parallel.dtype=fp32",
         "--eval.batch_tokens=1500"])
    ours = json.loads((tmp_path / "eval" / "results.json").read_text(encoding="utf-8"))
    reference = theirs(model, tasks, tmp_path / "cache", shots or None)
    assert set(ours["results"]) == set(reference["results"]) | {"mmlu_clinical"}
    num_cut = 0
    for name, expected in reference["samples"].items():
        found = samples(tmp_path / "eval", name)
        assert len(found) == len(expected), name
        for one, two in zip(found, sorted(expected, key=lambda sample: sample["doc_id"])):
            assert [tuple(a.values()) for a in one["arguments"].values()] == [tuple(a) for a in two["arguments"]]
            assert one["target"] == str(two["target"])
            assert (one["prompt_hash"], one["target_hash"]) == (two["prompt_hash"], two["target_hash"])
            for (ll, greedy), (expected_ll, expected_greedy) in zip(one["filtered_resps"], two["filtered_resps"]):
                assert float(ll) == pytest.approx(float(expected_ll), abs=TOLERANCE), (name, one["doc_id"])
                assert greedy == str(expected_greedy)
            assert all(one[metric] == two[metric] for metric in two["metrics"])
            num_cut += len(one["arguments"]["gen_args_0"]["arg_0"]) > 3000
    assert num_cut > 0, "no item was longer than the model's positions"
    for name, expected in reference["results"].items():
        for key, value in expected.items():
            if key.startswith("acc"):
                assert ours["results"][name][key] == pytest.approx(value, abs=1e-12), (name, key)
    assert ours["groups"]["multimedqa"]["sample_len"] == reference["groups"]["multimedqa"]["sample_len"]
    assert {name: ours["n-samples"][name] for name in reference["n-samples"]} == reference["n-samples"]
    assert {name: ours["n-shot"][name] for name in reference["n-shot"]} == reference["n-shot"]
    assert {name: str(version) for name, version in ours["versions"].items() if name in reference["samples"]} == {
        name: str(version) for name, version in reference["versions"].items() if name in reference["samples"]}


def test_every_mmlu_subject_has_its_prompt(tmp_path):
    """The description of each of lm-eval's 57 subjects, from its YAML."""
    arguments, expected = [], {}
    question = exam_files.write_mmlu(tmp_path / "one.csv", [["Why?", "a", "b", "c", "d", 2]])
    for path in sorted((TASKS / "mmlu/default").glob("mmlu_*.yaml")):
        config = yaml.safe_load(path.read_text())
        arguments.append(f"--eval.task={config['task']}:{question}")
        expected[config["task"]] = config["description"] + "Why?\nA. a\nB. b\nC. c\nD. d\nAnswer:"
    assert len(expected) == 57
    model = exam_files.make_model(tmp_path / "model")
    run(["evaluate", f"--eval.model={model}", *arguments, f"--eval.output={tmp_path / 'eval'}", "--parallel.dtype=fp32"])
    for name, prompt in expected.items():
        assert samples(tmp_path / "eval", name)[0]["arguments"]["gen_args_0"]["arg_0"] == prompt


def test_option_texts_are_scored_as_lm_eval_scores_them(tmp_path):
    """eval.scoring=text is lm-eval's cloze form; a local YAML spells it out."""
    model = exam_files.make_model(tmp_path / "model", mixture=True)
    records = [{"id": i, "question": exam_files.stem(rng, 1), "options": exam_files.options(rng, 4), "answer": rng.randrange(4)}
               for i, rng in ((i, random.Random(i)) for i in range(40))]
    path = exam_files.write_lines(tmp_path / "exam.jsonl", records)
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "exam.yaml").write_text(yaml.safe_dump({
        "task": "exam", "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(path)}}, "test_split": "test",
        "output_type": "multiple_choice", "doc_to_text": "Question: {{question}}\nAnswer:", "doc_to_choice": "{{options}}",
        "doc_to_target": "answer", "metric_list": [{"metric": m, "aggregation": "mean", "higher_is_better": True} for m in ("acc", "acc_norm")]}))
    os.environ["HF_DATASETS_CACHE"] = str(tmp_path / "cache")
    manager = lm_eval.tasks.TaskManager(include_path=str(tmp_path / "tasks"), include_defaults=False)
    hf = HFLM(pretrained=str(model), dtype="float32", device="cpu", batch_size=8)
    expected = lm_eval.simple_evaluate(model=hf, tasks=["exam"], task_manager=manager, bootstrap_iters=10)
    run(["evaluate", f"--eval.model={model}", f"--eval.task=exam:{path}", "--eval.scoring=text", f"--eval.output={tmp_path / 'eval'}",
         "--parallel.dtype=fp32"])
    ours = json.loads((tmp_path / "eval" / "results.json").read_text())["results"]["exam"]
    found = samples(tmp_path / "eval", "exam")
    for one, two in zip(found, sorted(expected["samples"]["exam"], key=lambda sample: sample["doc_id"])):
        assert (one["acc"], one["acc_norm"]) == (two["acc"], two["acc_norm"])
        assert [float(ll) for ll, _ in one["filtered_resps"]] == pytest.approx([float(ll) for ll, _ in two["filtered_resps"]], abs=TOLERANCE)
    for key in ("acc,none", "acc_norm,none", "acc_stderr,none", "acc_norm_stderr,none"):
        assert ours[key] == pytest.approx(expected["results"]["exam"][key], abs=1e-12)
    assert any(row["acc"] != row["acc_norm"] for row in found), "the lengths matter in no item: the test shows nothing"
