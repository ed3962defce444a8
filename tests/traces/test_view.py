"""The page to step through a run: what it says at each step, and that it works in a browser."""

import json
import re

import pytest

from selfexec_jax.sandbox import Run, SandboxPool, TraceBudget
from selfexec_jax.tools import trace as tool
from selfexec_jax.traces import narrate
from selfexec_jax.traces.view import page
from tests.browsing import browsed, needs_browser, with_script

SOURCE = """def add(seen, word):
    seen[word] = seen.get(word, 0) + 1
    return len(seen)


class Box:
    def __init__(self):
        self.inside = []


box = Box()
seen = {}
for word in 'a b a'.split():
    print(word, add(seen, word))
    box.inside.append(word * 3)
tall = [list(range(i)) for i in range(25)]
print('</script><b>&amp;', "\\u202e")
"""


@pytest.fixture(scope="module")
def execution():
    with SandboxPool(workers=1, min_tier="rlimits_only") as pool:
        return pool.submit(Run(SOURCE, trace=TraceBudget(of="both"))).result(30)


def data_of(html: str) -> dict:
    (data,) = json.loads(re.search('id="runs">(.*?)</script>', html, re.DOTALL).group(1))
    return data


def states_of(data: dict) -> list[dict]:
    """The variables at each moment, put together as the page does."""
    last, states = {}, []
    for moment in data["moments"]:
        now = {k: v for k, v in (last.get(moment["scope"], {}) | moment["set"]).items() if k not in moment["gone"]}
        last[moment["scope"]] = now
        states.append(now)
    return states


def test_every_sentence_has_its_line_its_variables_and_its_output(execution):
    data = data_of(page(execution, "p.py"))
    told = narrate(execution.trace, "full")
    assert "\n".join(moment["text"] for moment in data["moments"]) == told.text
    for moment, state in zip(data["moments"], states_of(data), strict=True):
        assert moment["text"].startswith(f"Line {moment['line']}: ")
        match = re.search(r"so seen\['(.)'\] becomes (\d)", moment["text"])
        if match:
            assert f"'{match[1]}': {match[2]}" in state["seen"]
            assert moment["stack"] == ["add"]
            assert state["word"] == f"'{match[1]}'"
        match = re.search(r"prints (.*)\.$", moment["text"])
        if match:
            assert data["stdout"][: moment["out"]].endswith(match[1] + "\n")
    last = states_of(data)[-1]
    assert last["box"] == "<Box inside=['aaa', 'bbb', 'aaa']>"
    assert last["word"] == "'a'"
    assert "Box" not in last
    assert data["stdout"] == execution.stdout.replace("\u202e", "")


def test_nothing_that_a_program_wrote_is_markup(execution):
    html = page(execution, "</title><script>alert(1)</script>")
    assert html.count("</script>") == 2
    assert html.count("<script") == 2
    assert "</title><script" not in html
    assert "default-src 'none'" in html


def test_a_simulation_beside_the_run(execution):
    right = narrate(execution.trace, "full").text
    data = data_of(page(execution, "p.py", right))
    assert all(agrees for _, _, agrees in data["simulated"]["rows"])
    assert (data["simulated"]["first"], data["simulated"]["divergence"]) == (None, "no divergence")
    lines = right.split("\n")
    at = next(i for i, line in enumerate(lines) if "seen['b'] becomes 1" in line)
    wrong = [*lines[:at], lines[at].replace("becomes 1", "becomes 2"), "Line 99: x becomes 1.", *lines[at + 1 :]]
    simulated = data_of(page(execution, "p.py", "\n".join(wrong)))["simulated"]
    assert (simulated["first"], simulated["divergence"]) == (at, "wrong value at line 2")
    assert [row[2] for row in simulated["rows"]].count(False) == 2
    assert simulated["rows"][at][:2] == [wrong[at], at]
    assert simulated["rows"][at + 1] == ["Line 99: x becomes 1.", None, False]
    nonsense = data_of(page(execution, "p.py", "I do not know.\n\n"))["simulated"]
    assert nonsense["rows"][0] == ["I do not know.", 0, False]
    silence = data_of(page(execution, "p.py", ""))["simulated"]
    assert silence["first"] == 0 and silence["divergence"].startswith("skipped at line")


def test_a_simulation_in_the_style_of_small_models(execution):
    right = narrate(execution.trace, "compact").text
    data = data_of(page(execution, "p.py", right, "compact"))
    assert "\n".join(moment["text"] for moment in data["moments"]) == right
    assert all(agrees for _, _, agrees in data["simulated"]["rows"])
    states, at = states_of(data), next(i for i, m in enumerate(data["moments"]) if m["text"] == "return 1")
    assert data["moments"][at]["line"] == 3 and data["moments"][at]["stack"] == ["add"]
    assert states[at]["seen"] == "{'a': 1}"
    lines = right.split("\n")
    at = lines.index("seen.get('b',0)=0;seen['b']=0+1=1")
    lines[at] = lines[at].replace("=1", "=2")
    simulated = data_of(page(execution, "p.py", "\n".join(lines), "compact"))["simulated"]
    assert (simulated["first"], simulated["divergence"]) == (at, "wrong value at line 2")
    assert [row[2] for row in simulated["rows"]].count(False) == 1


def test_a_simulation_with_numbers(execution):
    right = narrate(execution.trace, "numbered").text
    data = data_of(page(execution, "p.py", right, "numbered"))
    assert "\n".join(moment["text"] for moment in data["moments"]) == right
    assert all(agrees for _, _, agrees in data["simulated"]["rows"])
    lines = right.split("\n")
    at = next(i for i, line in enumerate(lines) if "word" in line and "'b'" in line)
    lines[at] = lines[at].replace("'b'", "'c'")
    simulated = data_of(page(execution, "p.py", "\n".join(lines), "numbered"))["simulated"]
    assert simulated["first"] == at and simulated["divergence"].startswith("wrong value at line")


def test_a_view_needs_both_recordings_and_a_style_that_tells_every_step(execution):
    with SandboxPool(workers=1, min_tier="rlimits_only") as pool:
        of_steps = pool.submit(Run("x = 1", trace=TraceBudget())).result(30)
    with pytest.raises(ValueError, match="both"):
        page(of_steps, "p.py")
    with pytest.raises(ValueError, match="full, compact, numbered, not 'brief'"):
        page(execution, "p.py", style="brief")


def test_the_tool_writes_a_page(tmp_path, capsys):
    program, out, simulated = tmp_path / "p.py", tmp_path / "p.html", tmp_path / "sim.txt"
    program.write_text("print(sum(range(3)))\n")
    simulated.write_text("Line 1: it prints 4.\n")
    assert tool.main([str(program), "--html", str(out), "--simulated", str(simulated), "--min-tier=rlimits_only"]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    assert data_of(out.read_text())["simulated"]["divergence"].endswith(" at line 1")
    assert tool.main([str(program), "--html", str(tmp_path / "new" / "p.html"), "--min-tier=rlimits_only"]) == 0
    assert tool.main([str(program), "--html", str(program / "p.html"), "--min-tier=rlimits_only"]) == 2
    with pytest.raises(SystemExit):
        tool.main([str(program), "--simulated", str(simulated)])


@needs_browser
def test_it_works_in_a_browser(execution, tmp_path):
    right = narrate(execution.trace, "full").text
    html = page(execution, "p.py", right.replace("seen['b'] becomes 1", "seen['b'] becomes 2"))
    keys = """
const press = (key, shiftKey) =>
  document.activeElement.dispatchEvent(new KeyboardEvent("keydown", {key, shiftKey, bubbles: true}));
const say = name => document.body.dataset[name] = [at("where").textContent,
  at("source").querySelector(".now").dataset.n, at("story").querySelector(".now").textContent,
  at("stdout").textContent, at("variables").textContent].join("|");
say("start"); press("ArrowRight"); say("right"); press("ArrowRight", true); say("far"); press("ArrowLeft"); say("left");
press("End"); say("end"); press("d"); say("diverged"); at("slider").value = 2; at("slider").oninput(); say("slid");
const tall = [...document.querySelectorAll(".variables .value")].every(one => one.offsetHeight <= 150);
document.body.dataset.fits = tall && document.documentElement.scrollWidth <= innerWidth
  && document.documentElement.scrollHeight <= innerHeight;
"""
    assert f'class="where">step 1 of {len(data_of(html)["moments"])}<' in browsed(html, tmp_path)
    assert "data-start=" not in browsed(with_script(html, keys, is_allowed=False), tmp_path)  # only the page's own runs
    dom = browsed(with_script(html, keys), tmp_path)
    said = dict(re.findall(r'data-(\w+)="([^"]*)"', re.search("<body[^>]*>", dom).group()))
    n = len(data_of(html)["moments"])
    assert 'aria-current="step"' in dom and f'aria-live="polite">step 3: {data_of(html)["moments"][2]["text"]}' in dom
    assert said["start"].startswith(f"step 1 of {n}|7|")
    assert said["right"].startswith(f"step 2 of {n}|8|")
    assert said["far"].startswith(f"step 12 of {n}|")
    assert said["left"].startswith(f"step 11 of {n}|")
    assert said["end"].startswith(f"step {n} of {n}|17|")
    assert "a 1\nb 2\na 2\n&lt;/script&gt;" in said["end"].replace("\\n", "\n")
    assert "tall[[], [0], [0, 1]" in said["end"]
    assert "becomes 2.Line 2:" in said["diverged"]
    assert said["slid"].startswith(f"step 3 of {n}|")
    assert said["fits"] == "true"
    assert dom.count("<b>") == 0
