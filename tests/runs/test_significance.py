"""The statistics of analysis/ against scipy, statsmodels and plain formulas on 1,000 random tables; comparisons of folders."""

import itertools
import json
import math
import pathlib
import subprocess
import sys

import numpy
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import power_proportions_2indep

ANALYSIS = pathlib.Path(__file__).resolve().parents[2] / "analysis"
sys.path.insert(0, str(ANALYSIS))

import compare  # noqa: E402
import significance  # noqa: E402
from read_tables import TableError  # noqa: E402
from result_tree import write_evaluation  # noqa: E402

NUM_TABLES = 1000


def random_tables(seed, size=400):
    """(first, second): correlated item values of two versions."""
    random = numpy.random.default_rng(seed)
    for _ in range(NUM_TABLES):
        n = int(random.integers(2, size))
        ability, shift = random.uniform(0.05, 0.95), random.uniform(-0.3, 0.3)
        difficulty = random.uniform(0, 1, n)
        yield (difficulty < ability).astype(float), ((difficulty + random.normal(0, 0.2, n)) < ability + shift).astype(float)


def test_paired_statistics_equal_scipy_and_statsmodels():
    for first, second in random_tables(1):
        n = len(first)
        paired = significance.compare_paired(first, second, significance.keyed_generator(1, "test"), resamples=100)
        table = [[int(((first == i) & (second == j)).sum()) for j in (1, 0)] for i in (1, 0)]
        assert (paired.only_first, paired.only_second, paired.n) == (table[0][1], table[1][0], n)
        assert math.isclose(paired.p, mcnemar(table, exact=True).pvalue, rel_tol=1e-9)
        assert math.isclose(paired.difference, second.mean() - first.mean(), abs_tol=1e-12)
        assert math.isclose(paired.stderr, stats.sem(second - first), abs_tol=1e-12)
        assert math.isclose(significance.standard_error(first), stats.sem(first), abs_tol=1e-12)


def test_mcnemar_equals_the_sum_of_binomial_terms():
    for b, c in itertools.product(range(12), repeat=2):
        tail = sum(math.comb(b + c, k) for k in range(min(b, c) + 1)) / 2 ** (b + c)
        assert math.isclose(significance.mcnemar_exact(b, c), min(1.0, 2 * tail), rel_tol=1e-12)


def test_wilson_equals_scipy_and_its_formula():
    random = numpy.random.default_rng(2)
    z = stats.norm.ppf(0.975)
    for _ in range(NUM_TABLES):
        n = int(random.integers(1, 5000))
        right = int(random.integers(0, n + 1))
        low, high = significance.wilson_interval(right, n)
        reference = stats.binomtest(right, n).proportion_ci(method="wilson")
        assert math.isclose(low, reference.low, abs_tol=1e-12) and math.isclose(high, reference.high, abs_tol=1e-12)
        p = right / n
        centre, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        assert math.isclose(low, (centre - half) / (1 + z * z / n), abs_tol=1e-12)
        assert math.isclose(high, (centre + half) / (1 + z * z / n), abs_tol=1e-12)


def holm(p_values):
    """Step-down by its definition: the k-th smallest times (m - k + 1), never below an earlier one."""
    out, running = [0.0] * len(p_values), 0.0
    for k, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        running = max(running, (len(p_values) - k) * p_values[i])
        out[i] = min(1.0, running)
    return out


def test_corrections_equal_their_definitions_and_scipy(monkeypatch):
    monkeypatch.setattr("gc.collect", lambda: 0)  # statsmodels collects in every call of Holm's: 0.1 s each, 1,000 times
    random = numpy.random.default_rng(3)
    for _ in range(NUM_TABLES):
        p_values = list(random.uniform(0, 1, int(random.integers(1, 20))) ** 3)
        assert numpy.allclose(significance.corrected(p_values, "holm"), holm(p_values), atol=1e-14)
        assert numpy.allclose(significance.corrected(p_values, "bh"), stats.false_discovery_control(p_values), atol=1e-14)
        assert significance.corrected(p_values, "none") == p_values
    assert significance.corrected([]) == []
    with pytest.raises(ValueError, match="unknown correction"):
        significance.corrected([0.1], "bonferoni")


def test_bootstrap_equals_scipys_and_is_keyed():
    # Monte Carlo error of a quantile at 2.5 % of B = 20,000: sd / B^0.5 * sqrt(0.025 * 0.975) / density(0.0584) = 0.019 sd; twice, at 5 sigma.
    for number, (first, second) in enumerate(itertools.islice(random_tables(4, 200), 20)):
        differences = second - first
        ours = significance.bootstrap_interval(differences, significance.keyed_generator(7, number), resamples=20_000)
        reference = stats.bootstrap((differences,), numpy.mean, n_resamples=20_000, method="percentile", vectorized=True, rng=number).confidence_interval
        step = 1 / len(differences)  # means are multiples of it
        tolerance = step + 5 * math.sqrt(2) * 0.019 * differences.std() / math.sqrt(len(differences))
        assert abs(ours[0] - reference.low) <= tolerance and abs(ours[1] - reference.high) <= tolerance
    again = significance.bootstrap_interval(differences[::-1], significance.keyed_generator(7, number), resamples=20_000)
    assert again == ours, "the order of items must not matter"
    other = significance.bootstrap_interval(differences + 0.001 * numpy.arange(len(differences)), significance.keyed_generator(8, number))
    assert other != ours


def test_bootstrap_covers_as_often_as_it_says():
    random = numpy.random.default_rng(5)
    covered = 0
    for repeat in range(600):
        differences = random.choice([-1.0, 0.0, 1.0], p=[0.15, 0.6, 0.25], size=300)
        low, high = significance.bootstrap_interval(differences, significance.keyed_generator(1, repeat), resamples=1000)
        covered += low <= 0.1 <= high
    assert 0.92 <= covered / 600 <= 0.98  # 95 % +- 3.4 standard errors


def test_unpaired_detectable_difference_has_the_power_that_statsmodels_computes():
    random = numpy.random.default_rng(6)
    for _ in range(NUM_TABLES):
        first = random.uniform(0.05, 0.8)
        n_first, n_second = (int(x) for x in random.integers(50, 3000, 2))
        difference = significance.detectable_unpaired(n_first, n_second, first)
        if math.isnan(difference):
            continue
        # statsmodels' second group is the reference and its ratio is n2 / n1.
        power = power_proportions_2indep(difference, first, n_second, ratio=n_first / n_second, return_results=False)
        assert math.isclose(power, 0.8, abs_tol=1e-3)
    assert math.isnan(significance.detectable_unpaired(2, 2, 0.9))


@pytest.mark.parametrize("n, discordant", [(200, 0.3), (1000, 0.2), (1273, 0.4)])
def test_paired_detectable_difference_is_found_with_its_power(n, discordant):
    difference = significance.detectable_paired(n, discordant)
    random = numpy.random.default_rng(n)
    draws = random.multinomial(n, [(discordant - difference) / 2, (discordant + difference) / 2, 1 - discordant], size=20_000)
    b, c = draws[:, 0], draws[:, 1]
    found = (c - b) ** 2 / numpy.maximum(b + c, 1) > stats.chi2.ppf(0.95, 1)
    assert abs(found.mean() - 0.8) < 0.015


def test_paired_detectable_difference_at_its_limits():
    assert math.isnan(significance.detectable_paired(100, 0.0)), "versions that never differ"
    assert math.isnan(significance.detectable_paired(5, 0.2)), "one discordant item proves nothing"
    assert significance.detectable_paired(1000, 0.2) < significance.detectable_paired(500, 0.2) < significance.detectable_paired(500, 0.4)


def test_one_item_and_unlike_items():
    paired = significance.compare_paired([1.0], [0.0], significance.keyed_generator(1))
    assert paired.p == 1.0 and math.isnan(paired.stderr) and (paired.ci_low, paired.ci_high) == (-1.0, -1.0)
    for first, second in (([], []), ([1.0], [1.0, 0.0])):
        with pytest.raises(ValueError, match="not the same items"):
            significance.compare_paired(first, second, significance.keyed_generator(1))


def command(*arguments):
    return subprocess.run([sys.executable, ANALYSIS / "compare.py", *map(str, arguments)], capture_output=True, text=True, timeout=120)


FIRST = [1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 1]
SECOND = [1, 1, 1, 1, 1, 1, 1, 1, 0, 1, 1, 0]


def test_compare_folders(tmp_path):
    other = [1 - v for v in FIRST[:6]]
    groups = {"both": ["exam", "quiz"]}
    first = write_evaluation(tmp_path / "base" / "eval", {"exam": FIRST, "quiz": FIRST[:6]}, groups, subjects=["heart", "lung"])
    second = write_evaluation(tmp_path / "tuned" / "eval", {"exam": SECOND, "quiz": other}, groups, subjects=["heart", "lung"], fine_tuned=1)
    records = compare.compare_folders([("base", first), ("tuned", second)], by_subject=True)
    by_key = {(r["task"], r["subset"]): r for r in records}
    assert list(by_key) == [(t, s) for t in ("exam", "quiz", "both") for s in ("all", "subject:heart", "subject:lung")]
    exam = by_key["exam", "all"]
    assert (exam["n"], exam["only_first"], exam["only_second"]) == (12, 1, 7)
    assert math.isclose(exam["difference"], 0.5) and math.isclose(exam["p"], 2 * 9 / 2 ** 8)
    assert by_key["both", "all"]["n"] == 18 and math.isclose(by_key["both", "all"]["first"], (sum(FIRST) + sum(FIRST[:6])) / 18)
    assert by_key["exam", "subject:lung"]["first"] == sum(FIRST[1::2]) / 6
    assert [r["p_corrected"] for r in records] == pytest.approx(holm([r["p"] for r in records]))
    assert compare.compare_folders([("base", first), ("tuned", second)], by_subject=True) == records

    result = command("--output", tmp_path / "out" / "table", first, second)
    assert result.returncode == 0, result.stderr
    assert "base/eval" in result.stdout and "+50.0" in result.stdout and "no difference beyond noise" in result.stdout
    assert all((tmp_path / "out" / f"table.{suffix}").exists() for suffix in ("md", "tex", "csv"))


def test_a_difference_beyond_noise_is_called_so(tmp_path):
    first = write_evaluation(tmp_path / "a", {"exam": [0] * 40 + [1] * 10})
    second = write_evaluation(tmp_path / "b", {"exam": [1] * 40 + [1] * 10})
    third = write_evaluation(tmp_path / "c", {"exam": [0] * 40 + [1] * 10})
    folders = [("a", first), ("b", second), ("c", third)]
    assert [r["reading"] for r in compare.compare_folders(folders, all_pairs=True)] == ["second higher", "no difference beyond noise", "second lower"]
    assert [(r["first_name"], r["second_name"]) for r in compare.compare_folders(folders)] == [("a", "b"), ("a", "c")]


def test_other_items_are_refused(tmp_path):
    first = write_evaluation(tmp_path / "first", {"exam": FIRST})
    fewer = write_evaluation(tmp_path / "fewer", {"exam": FIRST[:10]})
    other = write_evaluation(tmp_path / "other", {"exam": FIRST}, subjects=["another text"])
    quiz = write_evaluation(tmp_path / "quiz", {"quiz": FIRST})
    for folder, complaint in ((fewer, r"2 only in first \(the first has doc_id 10\)"), (other, "12 have another text"), (quiz, "no task in common")):
        assert compare.main(["--output", str(tmp_path / "t"), str(first), str(folder)]) == 3
        with pytest.raises(TableError, match=complaint):
            compare.compare_folders([("first", first), (folder.name, folder)])
    assert not (tmp_path / "t.md").exists()
    lines = [json.loads(line) for line in (other / "samples_exam.jsonl").read_text().splitlines()]
    (other / "samples_exam.jsonl").write_text("".join(json.dumps({k: v for k, v in line.items() if k != "doc_hash"}) + "\n" for line in lines))
    with pytest.raises(TableError, match="no doc_hash"):
        compare.compare_folders([("first", first), ("other", other)])
    with pytest.raises(SystemExit, match="2"):
        compare.main(["--output", str(tmp_path / "t"), str(first)])
