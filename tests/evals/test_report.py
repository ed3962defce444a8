import copy
import gzip
import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest

from selfexec_jax.evals import figures, html, load_report, looks, result_table, wording, write_report
from selfexec_jax.evals import report as report_module
from selfexec_jax.sandbox import Run, SandboxPool, TraceBudget
from selfexec_jax.tools import report as tool
from selfexec_jax.traces.view import seen
from tests.browsing import browsed, needs_browser, with_script

VOID = {"input", "meta", "br", "img", "link", "hr"}
EVIL = "</pre><script>alert(1)</script>\x1b[31mred\x1b[0m\x1b]0;title\x07 \u202etxt.exe\ud800 ```\n````\n<b>"


class Tags(HTMLParser):
    """The tags of a page; raises on one that is closed in the wrong place."""

    def __init__(self, text):
        super().__init__()
        self.open, self.seen, self.attributes = [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def written(tmp_path_factory, report, curves, examples):
    folder = tmp_path_factory.mktemp("run") / "deep"  # write_report makes the folder
    assert write_report(folder, report, curves, examples) == folder / "report.html"
    return folder


def change(report, **parts):
    return {**copy.deepcopy(report), **parts}


def test_a_run_directory_gets_the_three_reports_and_the_figures(written, report):
    assert sorted(p.name for p in written.iterdir()) == ["figures", "report.html", "report.json", "report.md"]
    drawn = sorted(p.stem for p in (written / "figures").iterdir())
    assert drawn == sorted(name for name, *_ in figures.FIGURES)
    assert all(p.read_bytes().startswith(b"\x89PNG") for p in (written / "figures").iterdir())
    assert load_report(written) == report


def test_the_page_is_sound_html_that_needs_nothing_else(written):
    text = (written / "report.html").read_text()
    tags = Tags(text)
    assert tags.seen.count("figure") == tags.seen.count("svg") == len(figures.FIGURES)
    assert not {"script", "link", "img", "iframe"} & set(tags.seen)
    loads = [value for key, value in tags.attributes if key in ("src", "href", "xlink:href")]
    assert all(value.startswith("#") for value in loads) and "@import" not in text
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", text))
    assert "prefers-color-scheme: dark" in text
    assert looks.INK not in text.partition("</style>")[2]  # figures take the page's ink, light or dark


def test_markdown_holds_every_table(written, report):
    text = (written / "report.md").read_text()
    best = report["results"]["best_at_8_simulated"]
    value, low, high = (f"{100 * best[key]:.1f}" for key in ("value", "low", "high"))
    cell = f"{value} % [{low}, {high}] · n 240 · 670 k tokens"
    row = next(line for line in text.splitlines() if line.startswith("| best@8 simulated |"))
    assert row.split(" | ")[1] == cell and row.count(" % ") == 4 and row.endswith("| 2.8 k |")
    assert "| result | all | specified | open | unseen | tokens a problem |" in text
    assert "| sft | 8 min 22 s | 5.2 M |" in text and "| total | 18 min 26 s | 9.5 M |" in text
    assert "| ≥ 160 | 15 | 20.0 % [0.0, 40.2] |" in text
    assert "| wrong | right | 25 | 240 | 10.4 % [8.4, 12.4] |" in text
    assert "| predicted | really passes | really fails |" in text  # any other table is shown as it is
    assert "| rejected: near duplicate | 41 |" in text
    learning = text.partition("## Learning curves")[2]
    assert len(re.findall(r"^\| [\d,]+ \| .*\d", learning, re.MULTILINE)) == 2 * report_module.CURVE_ROWS
    assert text.count("### Example") == report_module.EXAMPLES
    assert all((written / path).is_file() for path in re.findall(r"!\[.*?\]\((.*?)\)", text))


def test_curve_rows_are_means_and_a_step_logged_twice_counts_once():
    rows = [{"stage": "sft", "step": step, "loss": float(step)} for step in range(1, 101)]
    rows += [{"stage": "sft", "step": 100, "loss": 200.0}, {"stage": "rl", "step": 100, "loss": 5.0}]
    table = report_module._curve_table(rows, "sft", "t")[0]
    assert table.rows[0] == ["1", "1"] and [row[0] for row in table.rows][-1] == "100"
    ends = [int(row[0]) for row in table.rows]
    inside = np.r_[np.arange(ends[-2] + 1, 100), 200]
    assert float(table.rows[-1][1]) == pytest.approx(inside.mean(), rel=1e-3)


def test_the_terminal_table_is_aligned_ordered_and_marks_what_excludes_zero(report):
    shuffled = change(report, results=dict(reversed(report["results"].items())))
    text = result_table(report)
    assert text == result_table(shuffled)
    lines = text.splitlines()
    results = lines[2 : lines.index("", 2)]
    assert len({len(line) for line in results}) == 1
    names = [line[:22].strip() for line in results[2:]]
    assert names[:4] == ["output prediction SFT", "output prediction RL", "pass@1", "pass@8"]
    assert names.index("best@2 simulated") < names.index("best@8 simulated") < names.index("best@8 executed")
    for name, entry in report["comparisons"].items():
        if "/" not in name:
            line = next(line for line in lines if line.startswith(looks.label(name)))
            assert ("] *" in line.split("  240")[0].split("  480")[0]) == (
                entry["low"] > 0 or entry["high"] < 0
            )


def test_cells_round_without_a_negative_zero():
    assert wording.points({"value": -0.0001, "low": -0.02, "high": 0.02}) == "+0.0 [-2.0, +2.0]"
    assert wording.points({"value": -0.04, "low": -0.06, "high": -0.02}) == "-4.0 [-6.0, -2.0] *"
    shown = [looks.short_number(x) for x in (0, 950, 999.7, 1_234, 84_400, 999_900, 3_100_000)]
    assert shown == ["0", "950", "1 k", "1.2 k", "84 k", "1 M", "3.1 M"]
    assert [wording.duration(x) for x in (3.42, 59.97, 200, 3_725)] == [
        "3.4 s",
        "1 min 00 s",
        "3 min 20 s",
        "1 h 02 min",
    ]


def test_missing_pieces_are_left_out_with_the_figures_of_an_earlier_report(tmp_path, report, curves):
    (tmp_path / "figures").mkdir()
    for name in ("rl.png", "mine.png"):
        (tmp_path / "figures" / name).write_bytes(b"old")
    small = change(report, results={"pass_at_1": report["results"]["pass_at_1"]}, comparisons={})
    del small["tables"]
    write_report(tmp_path, small, [row for row in curves if row["stage"] == "sft"])
    assert sorted(p.name for p in (tmp_path / "figures").iterdir()) == [
        "mine.png",
        "sft.png",
        "strategies.png",
        "time.png",
    ]
    text = (tmp_path / "report.md").read_text()
    assert "Supervised" in text
    assert not re.search("Reinforcement|Comparisons|Accuracy against|Examples", text)
    Tags((tmp_path / "report.html").read_text())
    write_report(tmp_path, small)
    assert "Learning curves" not in (tmp_path / "report.md").read_text()


def test_what_goes_beyond_the_paper_has_a_line_each(tmp_path, report):
    results, pairs = dict(report["results"]), dict(report["comparisons"])
    results["search"] = results["best_at_8_simulated"] | {"tokens": 900 * results["best_at_8_simulated"]["n"]}
    pairs["search_over_best_at_8_simulated"] = {"value": 0.02, "low": 0.01, "high": 0.03, "n": 240}
    pairs["search_over_best_at_8_votes_1"] = {"value": 0.02, "low": 0.01, "high": 0.03, "n": 240}  # which has no result
    write_report(tmp_path, change(report, results=results, comparisons=pairs))
    text = (tmp_path / "report.md").read_text()
    (line,) = [line for line in text.partition("Beyond the paper")[2].splitlines() if "| search |" in line][:1]
    assert "+2.0 [+1.0, +3.0] * · n 240" in line and "| 900 | helps |" in line
    assert "search | best@8 votes 1" not in text


def test_what_models_and_programs_wrote_is_shown_and_never_obeyed(tmp_path, report):
    evil = dict.fromkeys(("statement", "program", "input", "said", "answer", "truth", "verdict"), EVIL)
    hostile = copy.deepcopy(report)
    hostile["meta"]["config"] = hostile["meta"]["counts"][EVIL] = EVIL
    hostile["tables"]["labels"] = [{EVIL: EVIL}]
    write_report(
        tmp_path, hostile, examples=[{**evil, "first_error": EVIL}, {**evil, "first_error": "alert"}]
    )
    page, text = (tmp_path / "report.html").read_text(), (tmp_path / "report.md").read_text()
    assert "script" not in Tags(page).seen and "&lt;script&gt;" in page
    for shown in (page, text, result_table(hostile)):
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e\ud800]|\[31m|0;title", shown)
    inside = 0  # outside of fences nothing of it is markup
    for line in text.splitlines():
        fence = re.match(r"`{3,}", line)
        if inside:
            inside = 0 if fence and fence[0] == line and len(line) >= inside else inside
        elif fence:
            inside = len(fence[0])
        else:
            assert not re.search(r"(?<!\\)<(script|b)>", line)
    assert not inside
    assert load_report(tmp_path) == hostile


@pytest.mark.parametrize(
    "dirty, shown",
    [
        ("a\r\nb\tc", "a\nb\tc"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x9b31mred", "red"),
        ("a\x00\x08b\x7f", "ab"),
        ("a\u202eb\u2066c", "abc"),
        ("é ≥ 漢字", "é ≥ 漢字"),
        (3, "3"),
        ("\x1b[\x1b[31mx", "x"),
    ],
)
def test_clean(dirty, shown):
    assert html.clean(dirty) == shown


@pytest.mark.parametrize(
    "error, marked",
    [
        (3, "4. It adds the first two, so total is 4."),
        ("xs is [1, 2, 3]", "3. It sorts xs, so xs is [1, 2, 3]."),
        ("total is 3 there", "First divergence: total is 3 there"),
        (None, None),
        ("", None),
        (99, "First divergence: 99"),
    ],
)
def test_the_first_divergence_is_marked(examples, error, marked):
    block = html.example(1, {**examples[0], "first_error": error})
    lines = dict(block.parts)["What the model said would happen"]
    assert [line for line, mark in lines if mark] == ([marked] if marked else [])
    assert ("<mark>" in html.page("t", "s", [html.Examples([block], [])])) == bool(marked)


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda r: r.pop("results"), "report['results'] is missing"),
        (lambda r: r["meta"].pop("seconds"), "report['meta'] lacks 'seconds'"),
        (lambda r: r["results"]["fixed"].pop("tokens"), "report['results']['fixed']['tokens']"),
        (
            lambda r: r["comparisons"]["fixed_over_broken"].update(low=float("nan")),
            "['low'] must be a finite number",
        ),
    ],
)
def test_a_bad_report_is_refused_before_anything_is_written(tmp_path, report, damage, message):
    broken = copy.deepcopy(report)
    damage(broken)
    with pytest.raises(ValueError, match=re.escape(message)):
        write_report(tmp_path / "run", broken)
    assert not (tmp_path / "run").exists()


def test_files_are_replaced_whole_or_not_at_all(tmp_path, report, monkeypatch):
    write_report(tmp_path, report)
    before = {p: p.read_bytes() for p in tmp_path.iterdir() if p.is_file()}

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_report(tmp_path, change(report, comparisons={}))
    assert {p: p.read_bytes() for p in tmp_path.iterdir() if p.is_file()} == before
    assert not list(tmp_path.rglob("*.tmp"))


def test_the_same_report_gives_the_same_bytes_and_numpy_numbers_are_plain(tmp_path, report, curves, examples):
    arrays = copy.deepcopy(report)
    arrays["results"]["fixed"] = {key: np.float64(v) for key, v in arrays["results"]["fixed"].items()}
    arrays["results"]["fixed"]["n"] = np.int64(report["results"]["fixed"]["n"])
    for name in ("a", "b"):
        write_report(tmp_path / name, arrays, curves, examples)
    for name in ("report.json", "report.md", "report.html", "figures/rl.png"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert load_report(tmp_path / "a")["results"]["fixed"] == report["results"]["fixed"]


def test_the_tool_prints_the_table_or_the_json(written, report, capsys):
    assert tool.main([str(written)]) == 0
    assert capsys.readouterr().out == result_table(report)
    assert tool.main([str(written), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == report


def test_runs_side_by_side_are_paired_by_problem(tmp_path, report, capsys):
    folders = [tmp_path / name for name in ("base", "better")]
    for folder, gain in zip(folders, (0, 1), strict=True):
        write_report(folder, report)
        (folder / "data").mkdir()
        values = [0.0] * 60 + [float(i < 20 * gain) for i in range(60)] + [1.0] * 60
        ids = [f"p{i}" for i in range(120)] + [f"unseen{i}" for i in range(60)]
        row = {"name": "self_rlef", "ids": ids, "values": values}
        (folder / "data" / "values.jsonl.gz").write_bytes(gzip.compress(json.dumps(row).encode()))
    assert tool.main([str(folder) for folder in folders]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [f"{name}: Config tiny, seed 0, K = 8, 2026-01-02 03:04 UTC" for name in ("base", "better")]
    (line,) = [line for line in lines if line.startswith("Self-RLEF ") and "executed" not in line]
    assert re.search(r"\+16\.7 \[\+1\d\.\d, \+2\d\.\d\] \* n 120$", line)  # 20 of the 120 that are not unseen
    (other,) = [line for line in lines if line.startswith("pass@1 ")]
    assert other.rstrip().endswith("]") and other.count("%") == 2  # no values by problem, so no difference
    (folders[1] / "config.json").write_text('{"seed": 1}')  # other problems of the same names
    assert tool.main([str(folder) for folder in folders]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Self-RLEF  ")]
    assert "n 120" not in line
    assert tool.main([*map(str, folders), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [report, report]


def test_a_difference_is_of_the_cases_that_its_row_counts(tmp_path, report, capsys):
    kinds = ("narrated_like", "own", "new_form")
    names = [f"output_prediction_rl{suffix}" for suffix in ("", "_shifted", "_own")]
    of_kinds = report | {"results": report["results"] | {n: report["results"]["output_prediction_rl"] for n in names}}
    for name, gain in (("base", {}), ("better", {"own": 1.0})):
        write_report(tmp_path / name, of_kinds)
        (tmp_path / name / "data").mkdir()
        ids = [f"heldout-{i}/{kind}/{i}" for i in range(20) for kind in kinds]
        row = {"name": "output_prediction_rl", "ids": ids, "values": [gain.get(i.split("/")[1], 0.0) for i in ids]}
        (tmp_path / name / "data" / "case_values.jsonl.gz").write_bytes(gzip.compress(json.dumps(row).encode()))
    assert tool.main([str(tmp_path / "base"), str(tmp_path / "better")]) == 0
    lines = {line.split("  ")[0]: line for line in capsys.readouterr().out.splitlines()}
    assert lines["output prediction RL"].endswith("+0.0 [+0.0, +0.0] n 20")
    assert "+50.0 [" in lines["output prediction RL shifted"] and lines["output prediction RL shifted"].endswith("n 40")
    assert lines["output prediction RL own"].endswith("+100.0 [+100.0, +100.0] * n 20")


@needs_browser
@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_works_in_a_browser(tmp_path, report, curves, examples, width):
    with SandboxPool(workers=1, min_tier="rlimits_only") as pool:
        trace = TraceBudget(of="both")
        sources = [f"x = {i}\nprint(x + 1)\n" for i in range(19)]
        executions = pool.map([Run(source, trace=trace) for source in (*sources, "pass\n")])
    views = [seen(e, f"{i}. <b>", f"x={i}\n{i}+1={i};print {i}", "compact", [("problem", EVIL)])
             for i, e in enumerate(executions)]  # fmt: skip
    shown = [{**examples[0], "view": view} for view in views]
    html = write_report(tmp_path, report, curves, shown).read_text()
    assert "script" in Tags(html).seen and html.count("<script") == 2
    assert 'class="where">step 1 of 2<' in browsed(html, tmp_path, width)
    dom = browsed(with_script(html, """
const press = key => viewer.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true}));
const say = name => document.body.dataset[name] = [at("which").selectedIndex, at("where").textContent,
  at("story").querySelector(".now").textContent].join("|");
const before = scrollY;
say("first"); press("n"); press("n"); say("third"); press("d"); say("diverged");
press("p"); press("End"); say("second");
at("which").value = 19; at("which").onchange();
document.body.dataset.empty = ["where", "variables", "stdout"].map(name => at(name).textContent).join("|");
document.body.dataset.still = scrollY === before;
document.body.dataset.fits = document.documentElement.scrollWidth <= innerWidth;
const all = names => [...document.querySelectorAll(names)];
document.body.dataset.named = all("figure").every(one => one.getAttribute("aria-label"));
document.body.dataset.reached = all(".wide, figure, .viewer").every(one => one.tabIndex === 0);
"""), tmp_path, width)  # fmt: skip
    said = dict(re.findall(r'data-(\w+)="([^"]*)"', re.search("<body[^>]*>", dom).group()))
    assert said["first"].startswith("0|step 1 of 2|x=0") and said["third"].startswith("2|step 1 of 2|x=2")
    assert said["diverged"] == "2|step 2 of 2|2+1=2;print 22+1=3;print 3"
    assert said["second"].startswith("1|step 2 of 2|")
    assert said["empty"] == "no steps||"
    assert [said[name] for name in ("still", "fits", "named", "reached")] == ["true"] * 4
    assert "<b>" not in dom.partition('class="viewer"')[2].partition("<script")[0].replace("<b>problem</b>", "")


@pytest.mark.parametrize("content", [None, "{", "[]", '{"meta": {}}'])
def test_the_tool_refuses_what_is_no_report_in_one_line(tmp_path, capsys, content):
    if content is not None:
        (tmp_path / "report.json").write_text(content)
    assert tool.main([str(tmp_path)]) == 2
    out, err = capsys.readouterr()
    assert not out and err.count("\n") == 1 and str(tmp_path / "report.json") in err


def test_the_room_loads_neither_jax_nor_matplotlib(written):
    code = (
        "import sys; from selfexec_jax.tools.report import main; code = main([sys.argv[1]]);"
        "assert not {'jax', 'matplotlib'} & set(sys.modules); sys.exit(code)"
    )
    subprocess.run([sys.executable, "-c", code, str(written)], check=True, capture_output=True)
