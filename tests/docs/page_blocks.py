"""What the pages hold: headings, links, and fences with the commands a reader is to type.

A fence's info string says what it is, and how the test is to take it; a reader of the rendered page sees none of it:

    ```sh                            commands, one after another, in one shell and one folder for the whole page
    ```sh background=NAME ready=WORD a command that runs on until the page ends; WORD stands in what it prints when it is ready
    ```sh ready=WORD,WORD            the same for the commands in it that end in "&", in their order
    ```sh no-run=REASON              cannot run in the tests; REASON is one of REASONS, and the words are checked all the same
    ```sh slow                       typed only by the tests marked `long`, and parsed by the others
    ```sh no-run=tested-elsewhere by=FILE   FILE is the test that runs it
    ```console                       commands behind "$ ", each with what the reader sees; of numbers, only that there is one
    ```console exact                 the same, and every number is the one shown
    ```toml  ```json                 settings and answers, which must load; `toml for=cloud`: of the server

A comment `# exit N: ...` behind a command is the exit code that the reader is told to expect. Comments at a page's top:
`<!-- starts from PAGE, running NAME NAME -->`: it goes on in the folder that PAGE left, with those backgrounds.
`<!-- brings FILE FILE -->`: files and folders of the reader's own, which the test makes.
`<!-- typed with WORD=OTHER WORD=OTHER -->`: what stands on the page for something of the reader's own, and what the test types.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"

REASONS = {
    "gpu": "wants an NVIDIA GPU",
    "jetson": "wants a Jetson",
    "root": "changes the system it runs on, or asks its systemd",
    "docker": "wants docker or a Kubernetes cluster",
    "camera": "wants a camera, or a controller, that the machine of the tests has not",
    "elsewhere": "runs on another machine, or against a server of yours",
    "minutes": "takes minutes, or gigabytes to fetch",
    "tested-elsewhere": "runs in a test of its own, which `by=` names",
}
"""Why a fence may stay unrun. Nothing else is taken."""

WANTS = {
    "root": r"^(sudo|systemctl|journalctl|timedatectl)\b",
    "docker": r"^(docker|kubectl) ",
    "camera": r"v4l|rtsp|plc",
    "gpu": r"cuda|tensorrt|nvidia|GPU",
    "jetson": r"jetson|jetpack",
}
"""What a fence with such a reason must hold: in every command for root and docker, somewhere for the rest."""

_FENCE = re.compile(r"^```([^\n`]*)\n(.*?)^```[ \t]*$", re.MULTILINE | re.DOTALL)
_START = re.compile(r"^<!-- starts from (\S+?)(?:, running ([a-z ]+))? -->$", re.MULTILINE)
_BRINGS = re.compile(r"^<!-- brings (.+) -->$", re.MULTILINE)
_TYPED_WITH = re.compile(r"^<!-- typed with (.+) -->$", re.MULTILINE)
_LEFT_RUNNING = re.compile(r"\s*&\s*(?:#.*)?$")
_NOT_OURS = {"build", "dist", "node_modules", "shared"}
_HERE_DOCUMENT = re.compile(r"<<-?\s*'?\"?(\w+)")
_EXIT = re.compile(r"\s#\s*exit (\d+)\b")


@dataclass(frozen=True, slots=True)
class Command:
    """A command as it is typed, the lines a reader is shown after it (none: not compared) and the exit code he is told.

    `ready` is "" but for a command that is left running: a word of what it says when it is ready.
    """

    text: str
    shown: tuple[str, ...] = ()
    code: int = 0
    ready: str = ""


@dataclass(frozen=True, slots=True)
class Block:
    """A fence: its language, what its info string says besides, its text, and the line of the page where it begins."""

    page: Path
    line: int
    language: str
    options: dict[str, str]
    text: str

    @property
    def place(self) -> str:
        """Return where it is, for a message."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def is_shell(self) -> bool:
        """Return whether a reader is to type what is in it."""
        return self.language in ("sh", "console")

    @property
    def unrun(self) -> str | None:
        """Return why it cannot run in the tests, None where it does."""
        return self.options.get("no-run")

    @property
    def is_exact(self) -> bool:
        """Return whether the numbers shown are to be the numbers seen."""
        return "exact" in self.options

    @property
    def is_slow(self) -> bool:
        """Return whether only the long tests type it."""
        return "slow" in self.options

    def commands(self) -> list[Command]:
        """Return what is typed, in order.

        Raises:
            AssertionError: the words of `ready` are not as many as the commands that are left running.
        """
        found = _console(self.text) if self.language == "console" else _typed(self.text)
        words = iter(self.options.get("ready", "").split(","))
        if "background" in self.options:
            return [replace(command, ready=next(words)) for command in found]
        found = [
            replace(command, text=_LEFT_RUNNING.sub("", command.text), ready=next(words, ""))
            if _LEFT_RUNNING.search(command.text)
            else command
            for command in found
        ]
        assert next(words, "") == "", f"line {self.line}: a word of ready= is of no command that ends in &"
        return found


def pages() -> list[Path]:
    """Return every page that somebody follows: docs/, and what lies beside the code."""
    beside = ("README.md", "CONTRIBUTING.md", "deploy/README.md", "deploy/observability/README.md")
    return [*sorted(DOCS.glob("*.md")), *(ROOT / page for page in beside)]


def every_markdown() -> list[Path]:
    """Return every Markdown file of the repository, each once."""
    folders = [each for each in ROOT.iterdir() if each.is_dir() and each.name[0] != "." and each.name not in _NOT_OURS]
    found = [*ROOT.glob("*.md"), *(page for folder in folders for page in folder.rglob("*.md"))]
    return sorted(page for page in found if not page.is_symlink() and not _NOT_OURS & set(page.parts))


def blocks(page: Path) -> list[Block]:
    """Return a page's fences."""
    text = page.read_text("utf-8")
    found = []
    for match in _FENCE.finditer(text):
        language, *words = match[1].split() or [""]
        options = dict(word.partition("=")[::2] for word in words)
        found.append(Block(page, text.count("\n", 0, match.start()) + 1, language, options, match[2]))
    return found


def start_of(page: Path) -> tuple[str, tuple[str, ...]] | None:
    """Return (the page whose folder it goes on in, the backgrounds that run), None for an empty folder."""
    match = _START.search(page.read_text("utf-8"))
    return None if match is None else (match[1], tuple((match[2] or "").split()))


def brought(page: Path) -> list[str]:
    """Return the files that a reader of the page brings."""
    match = _BRINGS.search(page.read_text("utf-8"))
    return match[1].split() if match else []


def stand_ins(page: Path) -> dict[str, str]:
    """Return what is typed in place of which words of the page."""
    match = _TYPED_WITH.search(page.read_text("utf-8"))
    return dict(each.split("=", 1) for each in match[1].split()) if match else {}


def put_in(text: str, words: dict[str, str]) -> str:
    """Return a command with other words where those of `words` stand alone or begin a path."""
    if not words:
        return text
    longest_first = sorted(words, key=len, reverse=True)
    wanted = "|".join(re.escape(word) for word in longest_first)
    return re.sub(rf"(?<![\w/.-])(?:{wanted})(?![\w-]|\.\w)", lambda found: words[found[0]], text)


def without_fences(text: str) -> str:
    """Return a page's prose."""
    return _FENCE.sub("", text)


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives the headings of a page, and those written out in it."""
    text = page.read_text("utf-8")
    found = set[str](re.findall(r'<a (?:id|name)="([^"]+)"', text))
    for heading in re.findall(r"^#{1,6} (.+?)\s*$", without_fences(text), re.MULTILINE):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        name = re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
        number = 0
        while (wanted := name if number == 0 else f"{name}-{number}") in found:
            number += 1
        found.add(wanted)
    return found


def links(page: Path) -> list[str]:
    """Return the targets of a page's links that lead nowhere outside."""
    text = re.sub(r"`[^`\n]*`", "", without_fences(page.read_text("utf-8")))
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    return [target for target in targets if not re.match(r"[a-z]+:", target)]


def _typed(text: str) -> list[Command]:
    """Split a fence into commands: a line each, but for lines that go on with a backslash, and here documents."""
    found: list[str] = []
    kept: list[str] = []
    until = ""
    for line in text.splitlines():
        if not kept and (not line.strip() or line.lstrip().startswith("#")):
            continue
        kept.append(line)
        if until:
            if line.strip() != until:
                continue
            until = ""
        elif opens := _HERE_DOCUMENT.search(line):
            until = opens[1]
            continue
        if not line.endswith("\\"):
            found.append("\n".join(kept))
            kept = []
    assert not kept, f"a command does not end: {kept[0]}"
    return [_command(each) for each in found]


def _console(text: str) -> list[Command]:
    found: list[Command] = []
    for piece in re.split(r"^\$ ", text, flags=re.MULTILINE):
        if not piece.strip():
            continue
        typed, *shown = piece.splitlines()
        while typed.endswith("\\"):
            typed += "\n" + shown.pop(0).removeprefix("> ")
        found.append(_command(typed, tuple(line for line in shown if line.strip())))
    return found


def _command(typed: str, shown: tuple[str, ...] = ()) -> Command:
    told = _EXIT.search(typed)
    return Command(typed, shown, int(told[1]) if told else 0)
