"""The page of an access package: one HTML file that needs nothing else, in one language.

No script, no style sheet, font or picture from anywhere, no link out: a policy in its head says so to the browser as
well. Every text that is not ours is escaped by `rights.markup`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from consent.clock import instant
from rights.markup import Markup, element, join
from rights.package import Entry
from rights.page_consents import agreed
from rights.page_data import computed, held_records, quarantined
from rights.page_parts import day, facts, table
from rights.page_uses import decisions, kept, used
from rights.view import View
from rights.words import Words

_STYLE = Path(__file__).parent / "pages" / "page.css"
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def page(view: View, words: Words, files: Sequence[Entry]) -> str:
    """The whole page.

    Args:
        files: what was written into the package before.
    """
    return "<!DOCTYPE html>\n" + element(
        "html", _head(view, words), _body(view, words, files), lang=words.lang
    )


def _head(view: View, words: Words) -> Markup:
    return element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="referrer", content="no-referrer"),
        element("meta", name="robots", content="noindex"),
        element("title", words("title", name=view.controller.name)),
        element("style", Markup(_STYLE.read_text(encoding="utf-8"))),
    )


def _body(view: View, words: Words, files: Sequence[Entry]) -> Markup:
    sections = (
        ("short", _short(view, words)),
        ("who", _who(view, words)),
        ("agreed", agreed(view, words)),
        ("records", held_records(view, words)),
        ("quarantine", quarantined(view, words)),
        ("features", computed(view, words)),
        ("used", used(view, words)),
        ("kept", kept(view, words)),
        ("decisions", decisions(view, words)),
        ("rights", _rights(view, words)),
        ("files", _files(view, words, files)),
    )
    found = [_section(words(name), name, content) for name, content in sections if content]
    return element("body", _header(view, words), element("main", found))


def _section(title: str, name: str, content: Markup) -> Markup:
    return element(
        "section", element("h2", title, id=f"{name}-title"), content, id=name, aria_labelledby=f"{name}-title"
    )


def _header(view: View, words: Words) -> Markup:
    other = "index.zh.html" if words.page == "index.html" else "index.html"
    return element(
        "header",
        element("h1", words("title", name=view.controller.name)),
        element("p", words("made", date=day(view.made_at), number=view.subject_id)),
        element("p", words("law")),
        element("p", words("utc"), class_="soft"),
        element(
            "nav",
            element(
                "a", words("other_page"), href=other, lang=words("other_lang"), hreflang=words("other_lang")
            ),
        ),
        [_notice(text) for text in _restrictions(view, words)],
    )


def _notice(text: str) -> Markup:
    return element("p", text, class_="notice", role="note")


def _restrictions(view: View, words: Words) -> list[str]:
    own = view.storage
    return [
        words(key, source=words.source(s.source), date=day(instant(s.effective_at)))
        for key, found in (("held", own.holds), ("asked_erasure", own.requests))
        for s in found
    ]


def _short(view: View, words: Words) -> Markup:
    lanes = view.storage.lanes
    records = sum(seen.rows for _, seen in view.of_store("vault"))
    features = sum(len(rows.columns) - 3 for rows, _ in view.features)
    figures: tuple[tuple[int, str, dict[str, int]], ...] = (
        (records, "records", {"sources": len(view.of_store("vault"))}),
        (features, "features", {}),
        (
            len(view.consents.entries),
            "entries",
            {"used": sum(x.now.allowed for x in lanes), "asked": len(lanes)},
        ),
        (len(view.receipts), "sets", {"models": len(view.models)}),
    )
    return element(
        "ul",
        [
            element(
                "li",
                element("b", f"{n:,}"),
                words(f"short_{name}"),
                element("span", words(f"short_{name}_more", **more)),
            )
            for n, name, more in figures
        ],
        class_="facts",
    )


def _who(view: View, words: Words) -> Markup:
    lender = view.controller
    return facts(
        (words("who_name"), lender.name),
        (words("who_address"), lender.address),
        (words("who_contact"), lender.contact),
        (words("who_url"), lender.url),
        (words("who_places"), ", ".join(lender.storage_locations)),
        (words("who_recipients"), ", ".join(lender.recipients) or words("nobody")),
    )


def _rights(view: View, words: Words) -> Markup:
    lender = view.controller
    names = ("withdraw", "erase", "correct", "object", "take", "complain")
    said = (words(f"right_{name}", where=lender.withdraw_at, contact=lender.contact) for name in names)
    return element("ul", [element("li", text) for text in said])


def _files(view: View, words: Words, files: Sequence[Entry]) -> Markup:
    rows = [
        (
            element("a", f.file, href=f.file),
            words.file(f.kind, f.about),
            element("td", "" if f.rows is None else f"{f.rows:,}", class_="number"),
            element("td", f"{f.size:,}", class_="number"),
        )
        for f in files
    ]
    heads = (words("file"), words("what"), words("rows"), words("size"))
    return join(
        [
            element("p", words("files_lead")),
            element("p", words("note_csv")),
            element("p", words("note_other")),
            element("p", words("pseudonym", key=view.subject_key)),
            table(words("files_caption"), heads, rows, numbers=heads[2:]),
            element("p", words("note_check")),
            element("pre", _COMMANDS),
            element("p", words("note_check_last")),
        ]
    )


_COMMANDS = """sha256sum -c SHA256SUMS
assent log verify manifest.note --key consents/log/log.vkey
assent log verify consents/proofs/* --key consents/log/log.vkey"""
