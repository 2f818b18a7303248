"""Every message that the program can end or warn with stands, with cause and remedy, in the runbook's tables."""

import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = [ROOT / "docs" / "runbook.md", ROOT / "docs" / "messages.md"]
# Where a message begins. `fail`, `report` and `refuse` are the local helpers that add file, line or field.
CALL = re.compile(r"throw (\w+)Error\(|fail_together<(\w+)Error>\(|log::(?:warning|error)\(|\b(?:fail|report|refuse)\(")
LITERAL = re.compile(r'"((?:\\.|[^"\\])*)"')
CHARACTER = re.compile(r"'(?:\\.|[^'\\])'")
# One row says what to do about these: they are mistakes of ours.
OURS = {"Internal"}
# Helpers that compose "cannot <what> <path>": the literal is the verb.
VERB = re.compile(r"^[a-z]+(?: (?:the|a|for|in|to|of|folder|file|free|space))*(?: ')?$|^' to$")


def arguments(text, start):
    """What stands between the parenthesis before `start` and its partner."""
    depth, at = 1, start
    while depth:
        if text[at] == '"':
            at = LITERAL.match(text, at).end()
            continue
        depth += {"(": 1, ")": -1}.get(text[at], 0)
        at += 1
    return text[start:at - 1]


def without_characters(text):
    """Character literals may hold a quote."""
    return CHARACTER.sub("' '", text)


def code_of(path):
    return without_characters(path.read_text())


def unescaped(literal):
    return literal.replace('\\"', '"').replace("\\n", " ").replace("\\\\", "\\")


def messages():
    """[(where, text)], variable parts as …"""
    found = []
    for path in sorted([*(ROOT / "lib").rglob("*.[ch]pp"), *(ROOT / "app").glob("*.[ch]pp")]):
        text = code_of(path)
        for call in CALL.finditer(text):
            if {call.group(1), call.group(2)} & OURS:
                continue
            joined = re.sub(r'"\s*\n\s*"', "", arguments(text, call.end()))
            parts = [unescaped(literal) for literal in LITERAL.findall(joined)]
            if not re.search(r"\w", "".join(parts)) or all(VERB.match(part) or not re.search(r"\w", part) for part in parts):
                continue
            found.append((f"{path.relative_to(ROOT)}:{text.count(chr(10), 0, call.start()) + 1}", "…".join(parts)))
    return found


def quotes():
    """{quoted message: its pieces}, from the first cell of every table row."""
    found = {}
    for page in PAGES:
        for line in page.read_text().splitlines():
            if line.startswith("| "):
                for quote in re.findall(r"``(.+?)``|`([^`]+)`", line.split(" | ")[0]):
                    text = without_characters((quote[0] or quote[1]).strip())
                    found[text] = [piece.strip() for piece in re.split(r"\.\.\.|…", text) if piece.strip()]
    return found


def test_every_message_is_explained():
    patterns = [re.compile(".*".join(map(re.escape, pieces)), re.DOTALL) for pieces in quotes().values() if pieces]
    missing = [f"{where}  {text}" for where, text in messages() if not any(p.search(text) for p in patterns)]
    assert not missing, "no row of docs/runbook.md or docs/messages.md explains:\n" + "\n".join(missing)


def test_every_explained_message_exists():
    literals = "\n".join(unescaped(literal) for path in [*(ROOT / "lib").rglob("*.[ch]pp"), *(ROOT / "app").glob("*.[ch]pp")]
                         for literal in LITERAL.findall(re.sub(r'"\s*\n\s*"', "", code_of(path))))
    page = without_characters(PAGES[1].read_text())
    stale = [text for text, pieces in quotes().items() if text in page and not all(piece in literals for piece in pieces)]
    assert not stale, f"no code says {stale}"
