"""Documentation that does not work is a bug: run its Python, and check its shell lines.

The Python of a document is one program, block after block. A comment `<!-- test: alone -->` before a block makes it a
program of its own, as it has to be for a reader who copies only this.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import re
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import pytest

from metamotor.scripts.cli import main

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
LIBRARIES = (
    *("torch", "torch._dynamo", "stable_baselines3", "sb3_contrib", "gymnasium", "matplotlib"),
    *("onnx", "onnxruntime", "onnxscript.function_libs.torch_lib.ops"),
)
"""What programs import that is not ours, and spend most of their time on."""
SERVER = """
import atexit, json, os, runpy, signal, sys, traceback
import {imports}

for line in sys.stdin:
    program, folder, log = json.loads(line)
    child = os.fork()
    if child == 0:
        signal.alarm({seconds})
        os.chdir(folder)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for stream in (1, 2):
            os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
        sys.argv, code = [program], 1
        try:
            runpy.run_path(program, run_name="__main__")
            code = 0
        except BaseException:
            traceback.print_exc()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        # The libraries' threads are not in a fork, and would be waited for at its usual end.
        os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
"""A process that has imported the libraries, and forks one for each program: of that program alone, as a user's is."""


@dataclass(frozen=True)
class Block:
    """A fenced block of a document and the order given in the comment before it."""

    language: str
    alone: bool
    line: int
    """Line of the document that the code begins at, counted from 1."""
    code: str


def blocks(text: str) -> list[Block]:
    """Return the fenced blocks that name their language."""
    found = []
    for match in BLOCK.finditer(text):
        order = match["order"] or ""
        line = text.count("\n", 0, match.start("code")) + 1
        if order not in ("", "alone"):
            raise ValueError(f"line {line}: expected 'test: alone', got {order!r}")
        code = textwrap.dedent(match["code"])
        found.append(Block(match["language"], order == "alone", line, code))
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


def programs_of(document: Path) -> list[str]:
    """Return the Python of a document: what stands alone, and the rest as one program."""
    python = [block for block in blocks(document.read_text()) if block.language == "python"]
    apart = [[block] for block in python if block.alone]
    rest = [block for block in python if not block.alone]
    return [script(found) for found in [*apart, rest] if found]


def calls_in(document: Path) -> list[list[str]]:
    """Return the words of each call of metamotor or make in a document's shell blocks."""
    return [
        words
        for block in blocks(document.read_text())
        if block.language in SHELLS
        for line in commands(block)
        for words in programs(line)
        if words[0] in ("make", "metamotor")
    ]


def identified(document: Path, item: object) -> str:
    return f"{document.relative_to(ROOT)}: {item}"


PROGRAMS = [
    pytest.param(text, id=identified(document, f"program {index}"))
    for document in DOCUMENTS
    for index, text in enumerate(programs_of(document), start=1)
]
CALLS = {
    identified(document, shlex.join(words)): words
    for document in DOCUMENTS
    for words in calls_in(document)
}


def run(command: list[str], folder: Path, seconds: float = 300) -> subprocess.CompletedProcess[str]:
    """Return what came of a command, its errors among what it printed; it must end within the time."""
    return subprocess.run(
        command,
        cwd=folder,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=seconds,
    )


@functools.cache
def help_of(words: tuple[str, ...]) -> str | None:
    """Return what a program, or a subcommand of one, says to --help; None if it has none."""
    if words[0] != "metamotor":
        helped = run([*words, "--help"], ROOT)
        return None if helped.returncode else helped.stdout
    told = io.StringIO()
    code: int | str | None = None
    with (
        contextlib.redirect_stdout(told),
        contextlib.redirect_stderr(told),
        mock.patch.dict(os.environ, ENVIRONMENT),
    ):
        try:
            code = main([*words[1:], "--help"])
        except SystemExit as ended:
            code = ended.code
    return None if code else told.getvalue()


def unknown_in(words: list[str]) -> list[str]:
    """Return the options of a call that its help does not have; the subcommand, if it has no help."""
    first = next((i for i, word in enumerate(words) if word.startswith("-")), len(words))
    helped = help_of(tuple(words[:first]))
    if helped is None:
        return [shlex.join(words[:first])]
    described = helped.replace("_", "-")
    options = [word.split("=")[0].replace("_", "-") for word in words[first:]]
    return [
        option
        for option in options
        if re.match(r"--?[A-Za-z]", option)
        and not re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", described)
    ]


def test_the_documents_that_must_have_examples_have_them() -> None:
    found = " ".join([*(str(param.id) for param in PROGRAMS), *CALLS])
    for expected in (
        *("README.md: program 1", "docs/getting-started.md: program 1", "README.md: make demo"),
        *(f"README.md: metamotor {name}" for name in ("train", "adapt", "export", "run")),
    ):
        assert expected in found


Runner = Callable[[str, Path], tuple[int, str]]


@pytest.fixture(scope="module")
def run_program() -> Iterator[Runner]:
    """How to run a Python program in a folder: returns its exit code and what it printed."""
    code = SERVER.format(imports=", ".join(LIBRARIES), seconds=300)
    with subprocess.Popen(
        [sys.executable, "-c", code],
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        to_server, from_server = server.stdin, server.stdout

        def run_program(text: str, folder: Path) -> tuple[int, str]:
            program, log = folder / "program.py", folder / "program.log"
            program.write_text(text)
            print(json.dumps([str(program), str(folder), str(log)]), file=to_server, flush=True)
            return int(from_server.readline()), log.read_text()

        yield run_program


@pytest.mark.parametrize("text", PROGRAMS)
@pytest.mark.slow
def test_python_runs(text: str, run_program: Runner, tmp_path: Path) -> None:
    code, printed = run_program(text, tmp_path)
    assert code == 0, printed


@pytest.mark.slow
def test_a_program_that_fails_is_found(run_program: Runner, tmp_path: Path) -> None:
    code, printed = run_program("print(__name__, flush=True)\nassert 1 == 2", tmp_path)
    assert code == 1
    assert printed.startswith("__main__\n")
    assert 'program.py", line 2' in printed
    code, _ = run_program("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", tmp_path)
    assert code == -9


@pytest.mark.parametrize("words", CALLS.values(), ids=CALLS)
def test_a_call_names_what_there_is(words: list[str]) -> None:
    if words[0] == "make":
        done = run(["make", "--dry-run", *words[1:]], ROOT)
        assert done.returncode == 0, done.stdout
    else:
        assert unknown_in(words) == []


SAMPLE = """\
Text.

```python
x = 1
```

<!-- test: alone -->

```python
y = 2
```

1. In a list:

   ```python
   if x:
       z = x
   ```

```console
$ echo a \\
    b
a b
```
"""


def test_blocks_are_found_with_their_orders_and_lines() -> None:
    found = [(block.language, block.alone, block.line) for block in blocks(SAMPLE)]
    assert found == [
        ("python", False, 4),
        ("python", True, 10),
        ("python", False, 16),
        ("console", False, 21),
    ]
    assert [line.split() for line in commands(blocks(SAMPLE)[-1])] == [["echo", "a", "b"]]


def test_a_program_keeps_the_lines_of_its_document(tmp_path: Path) -> None:
    document = tmp_path / "sample.md"
    document.write_text(SAMPLE)
    alone, rest = (text.splitlines() for text in programs_of(document))
    assert [alone[9], len(alone)] == ["y = 2", 10]
    assert [rest[3], rest[9], rest[15], rest[16]] == ["x = 1", "", "if x:", "    z = x"]


def test_an_unknown_order_is_refused() -> None:
    with pytest.raises(ValueError, match="expected 'test: alone', got 'skip'"):
        blocks("<!-- test: skip -->\n```python\n```\n")


def test_a_line_is_taken_apart_into_programs() -> None:
    line = "SEED=1 metamotor train --out 'a b' | tee log && make test  # both"
    assert programs(line) == [
        ["metamotor", "train", "--out", "a b"],
        ["tee", "log"],
        ["make", "test"],
    ]


@pytest.mark.parametrize("known", [["metamotor", "run", "--fast"], ["ruff", "check", "--fix"]])
def test_an_option_or_subcommand_that_does_not_exist_is_found(known: list[str]) -> None:
    program, command, option = known
    assert unknown_in(known) == []
    assert unknown_in([program, command, "--nonsense"]) == ["--nonsense"]
    assert unknown_in([program, "nonsense", option]) == [f"{program} nonsense"]
