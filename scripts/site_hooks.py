"""What MkDocs asks of us while it builds the site; the names of the functions are its own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

ELSEWHERE = re.compile(r"\[([^\]]+)\]\(((?:\.\./)+[^)#\s]+)(?:#[^)]*)?\)")
"""A link out of the folder of the pages, to a file of the checkout that the site does not have."""


def on_config(config: Any) -> Any:
    """Give pages that exist a place: those of the list that are there, then all the others."""
    folder = Path(config["docs_dir"])
    there = {str(path.relative_to(folder)) for path in folder.rglob("*.md")}
    named: set[str] = set()
    config["nav"] = _present(config["nav"], there, named)
    decisions = sorted(name for name in there - named if name.startswith("adr/"))
    others = sorted(there - named - set(decisions))
    config["nav"] += [{"More": others}] if others else []
    config["nav"] += [{"Decisions": decisions}] if decisions else []
    return config


def _present(entries: list[Any], there: set[str], named: set[str]) -> list[Any]:
    kept: list[Any] = []
    for entry in entries:
        ((title, target),) = entry.items()
        if isinstance(target, list):
            if inside := _present(target, there, named):
                kept.append({title: inside})
        elif target in there:
            named.add(target)
            kept.append(entry)
    return kept


def on_page_markdown(markdown: str, page: Any, config: Any, **_: Any) -> str:
    """Name a file of the checkout where a page links to one: the site does not have it."""

    def named(match: re.Match[str]) -> str:
        here = Path(config["docs_dir"]) / page.file.src_uri
        target = (here.parent / match[2]).resolve()
        if target.is_relative_to(config["docs_dir"]):
            return match[0]
        place = target.relative_to(Path(config["docs_dir"]).parent)
        return match[1] if match[1].strip("`") == str(place) else f"{match[1]} (`{place}`)"

    return ELSEWHERE.sub(named, markdown)
