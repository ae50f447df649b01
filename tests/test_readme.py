"""Documentation that does not work is a bug: run its Python, and check its shell lines.

A comment before a block changes what happens to it: `<!-- test: run -->` executes a shell block instead of only
checking it, and `<!-- test: skip REASON -->` leaves a block out.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
SHELLS = ("bash", "sh", "shell", "console")
BLOCK = re.compile(
    r"(?:^[ ]*<!--[ ]*test:[ ]*(?P<order>.*?)[ ]*-->\s*\n)?"
    r"^(?P<indent>[ ]*)```(?P<language>\w+)[^\n]*\n(?P<code>.*?)^(?P=indent)```[ ]*$",
    re.MULTILINE | re.DOTALL,
)
# Programs of this environment come first, colours and frames would hide options in the help.
ENVIRONMENT = {
    **os.environ,
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    "COLUMNS": "200",
    "NO_COLOR": "1",
    "TERM": "dumb",
    "MPLBACKEND": "Agg",
    "WANDB_MODE": "offline",
}

each_document = pytest.mark.parametrize(
    "document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT))
)


@dataclass(frozen=True)
class Block:
    """A fenced block of a document and the order given in the comment before it."""

    language: str
    order: str
    line: int
    """Line of the document that the code begins at, counted from 1."""
    code: str

    @property
    def skipped(self) -> bool:
        return self.order.startswith("skip ")


def blocks(text: str) -> list[Block]:
    """Return the fenced blocks that name their language."""
    found = []
    for match in BLOCK.finditer(text):
        order = match["order"] or ""
        line = text.count("\n", 0, match.start("code")) + 1
        if order and order != "run" and not order.startswith("skip "):
            raise ValueError(
                f"line {line}: expected 'test: run' or 'test: skip REASON', got {order!r}"
            )
        found.append(Block(match["language"], order, line, textwrap.dedent(match["code"])))
    return found


def commands(block: Block) -> list[str]:
    """Return the commands of a shell block, one a line; a console block also shows what they print."""
    lines = block.code.replace("\\\n", " ").splitlines()
    if block.language == "console":
        return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    return [line.removeprefix("$ ") for line in lines]


def programs(line: str) -> list[list[str]]:
    """Return the words of each program that a shell line calls, without the variables set in front."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    calls: list[list[str]] = [[]]
    for word in lexer:
        if not word.strip("();<>|&"):
            calls.append([])
        elif calls[-1] or not re.match(r"\w+=", word):
            calls[-1].append(word)
    return [call for call in calls if call]


def script(found: list[Block]) -> str:
    """Return the blocks as one program, each line where the document has it, so that tracebacks point there."""
    lines: list[str] = []
    for block in found:
        lines += [""] * (block.line - 1 - len(lines)) + block.code.splitlines()
    return "\n".join(lines) + "\n"


def run(command: list[str], folder: Path, seconds: float = 300) -> str:
    """Return what a command prints; it must succeed within the time."""
    done = subprocess.run(
        command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=seconds
    )
    assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def check_against_help(words: list[str], folder: Path) -> None:
    """Check that the help of the subcommand, which is all before the first option, has every option."""
    first = next((i for i, word in enumerate(words) if word.startswith("-")), len(words))
    described = run([*words[:first], "--help"], folder).replace("_", "-")
    for word in words:
        option = word.split("=")[0].replace("_", "-")
        if re.match(r"--?[A-Za-z]", option):
            known = rf"(?<![\w-]){re.escape(option)}(?![\w-])"
            assert re.search(known, described), f"{shlex.join(words)}: no {option} in\n{described}"


@each_document
@pytest.mark.slow
def test_python_runs(document: Path, tmp_path: Path) -> None:
    python = [block for block in blocks(document.read_text()) if block.language == "python"]
    for block in python:
        compile(block.code, f"{document}:{block.line}", "exec")
    program = tmp_path / f"{document.stem}.py"
    program.write_text(script([block for block in python if not block.skipped]))
    run([sys.executable, str(program)], tmp_path)


@each_document
@pytest.mark.slow
def test_shell_lines_name_what_there_is(document: Path, tmp_path: Path) -> None:
    for block in blocks(document.read_text()):
        if block.language not in SHELLS or block.skipped:
            continue
        for line in commands(block):
            for words in programs(line):
                if Path(words[0]).name == "metamotor":
                    check_against_help(["metamotor", *words[1:]], tmp_path)
                elif words[0] == "make":
                    run(["make", "--dry-run", *words[1:]], ROOT)


@each_document
@pytest.mark.slow
def test_shell_blocks_marked_run_succeed(document: Path, tmp_path: Path) -> None:
    for block in blocks(document.read_text()):
        if block.language in SHELLS and block.order == "run":
            run(["bash", "-euo", "pipefail", "-c", "\n".join(commands(block))], tmp_path)


SAMPLE = """\
Text.

```python
x = 1
```

<!-- test: skip needs a robot -->

```python
y = 2
```

1. In a list:

   ```python
   if x:
       z = x
   ```

<!-- test: run -->
```console
$ echo a \\
    b
a b
```
"""


def test_blocks_are_found_with_their_orders_and_lines() -> None:
    found = [(block.language, block.order, block.line) for block in blocks(SAMPLE)]
    assert found == [
        ("python", "", 4),
        ("python", "skip needs a robot", 10),
        ("python", "", 16),
        ("console", "run", 22),
    ]
    assert [line.split() for line in commands(blocks(SAMPLE)[-1])] == [["echo", "a", "b"]]


def test_a_program_keeps_the_lines_of_its_document() -> None:
    found = [block for block in blocks(SAMPLE) if block.language == "python" and not block.skipped]
    lines = script(found).splitlines()
    assert [lines[3], lines[15], lines[16]] == ["x = 1", "if x:", "    z = x"]


def test_a_skip_without_a_reason_is_refused() -> None:
    with pytest.raises(ValueError, match="skip REASON"):
        blocks("<!-- test: skip -->\n```python\n```\n")


def test_a_line_is_taken_apart_into_programs() -> None:
    line = "SEED=1 metamotor train --out 'a b' | tee log && make test  # both"
    assert programs(line) == [
        ["metamotor", "train", "--out", "a b"],
        ["tee", "log"],
        ["make", "test"],
    ]


def test_an_option_or_subcommand_that_does_not_exist_is_found(tmp_path: Path) -> None:
    check_against_help(["pytest", "--collect-only", "-q"], tmp_path)
    with pytest.raises(AssertionError, match="no --nonsense"):
        check_against_help(["pytest", "--nonsense"], tmp_path)
    with pytest.raises(AssertionError, match="ruff nonsense"):
        check_against_help(["ruff", "nonsense"], tmp_path)
