"""Who answers for the data: what a consent record says about the lender.

It is the table ``[controller]`` of ``assent.toml``.

Source: ISO/IEC TS 27560:2023, party and processing fields that are mandatory and that no consent statement holds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from consent.errors import ConfigError, Gap

#: What to add to ``assent.toml``.
EXAMPLE = """[controller]
name = "Example Lending Ltd"
address = "1 Example Road, 100000 Example City"
contact = "privacy@lender.example"
url = "https://lender.example"
withdraw_at = "https://lender.example/consent"
storage_locations = ["CN"]
recipients = []"""

#: Countries of the DPV vocabulary of places, two letters each (ISO 3166-1; EU is the union).
COUNTRIES = frozenset(
    re.findall(
        "..",
        "ADAEAFAGAIALAMAOAQARASATAUAWAXAZBABBBDBEBFBGBHBIBJBLBMBNBOBQBRBSBTBVBWBYBZCACCCDCFCGCHCICKCLCMCN"
        "COCRCUCVCWCXCYCZDEDJDKDMDODZECEEEGEHERESETEUFIFJFKFMFOFRGAGBGDGEGFGGGHGIGLGMGNGPGQGRGSGTGUGWGYHKHM"
        "HNHRHTHUIDIEILIMINIOIQIRISITJEJMJOJPKEKGKHKIKMKNKPKRKWKYKZLALBLCLILKLRLSLTLULVLYMAMCMDMEMFMGMHMKML"
        "MMMNMOMPMQMRMSMTMUMVMWMXMYMZNANCNENFNGNINLNONPNRNUNZOMPAPEPFPGPHPKPLPMPNPRPSPTPWPYQARERORSRURWSASB"
        "SCSDSESGSHSISJSKSLSMSNSOSRSSSTSVSXSYSZTCTDTFTGTHTJTKTLTMTNTOTRTTTVTWTZUAUGUMUSUYUZVAVCVEVGVIVNVUWF"
        "WSYEYTZAZMZW",
    )
)
_TEXTS = ("name", "address", "contact", "url", "withdraw_at")
_LISTS = ("storage_locations", "recipients")
_MAX_TEXT = 500
_IRI = r"[^\s<>\"{}|\\^`]+"
_URL = re.compile(f"https?://{_IRI}")
_REACHABLE = re.compile(f"(https?://|mailto:|tel:){_IRI}")


@dataclass(frozen=True, slots=True)
class Controller:
    """The lender, as a person is told of them.

    Attributes:
        contact: an e-mail address, a telephone number or an office.
        url: names the lender in every record.
        withdraw_at: where consent is withdrawn: a web, mail or telephone address.
        storage_locations: ISO 3166-1 codes of the countries data is stored in.
        recipients: who else receives data; none: nobody but the lender.
    """

    name: str
    address: str
    contact: str
    url: str
    withdraw_at: str
    storage_locations: tuple[str, ...]
    recipients: tuple[str, ...] = ()


def require_controller(controller: Controller | None) -> Controller:
    """The controller, if there is one.

    Raises:
        Gap: none is configured; a record without these fields is none.
    """
    if controller is None:
        raise Gap(
            "nobody is named who answers for the data: assent.toml has no [controller]",
            remedy=f"Add this to assent.toml, with your own values:\n\n{EXAMPLE}\n",
        )
    return controller


def parse_controller(table: object) -> Controller:
    """Read the table ``[controller]``.

    Raises:
        ConfigError: a key is missing, unknown or wrong.
    """
    if not isinstance(table, Mapping) or set(table) - {*_TEXTS, *_LISTS}:
        raise _wrong("[controller] is no table, or has a key nobody knows")
    texts = {name: _text(table, name) for name in _TEXTS}
    if not _URL.fullmatch(texts["url"]):
        raise _wrong("url of [controller] is no web address")
    if not _REACHABLE.fullmatch(texts["withdraw_at"]):
        raise _wrong("withdraw_at of [controller] is no web, mail or telephone address")
    places = _list(table, "storage_locations")
    if not places or not COUNTRIES.issuperset(places):
        raise _wrong("storage_locations of [controller] are not ISO 3166-1 codes of countries")
    return Controller(**texts, storage_locations=places, recipients=_list(table, "recipients"))


def _text(table: Mapping[str, object], name: str) -> str:
    value = table.get(name)
    if not _is_text(value):
        raise _wrong(f"{name} of [controller] is missing, or is no line of text")
    return str(value).strip()


def _list(table: Mapping[str, object], name: str) -> tuple[str, ...]:
    values = table.get(name, [])
    if not isinstance(values, list | tuple) or not all(_is_text(value) for value in values):
        raise _wrong(f"{name} of [controller] is no list of texts")
    return tuple(value.strip() for value in values)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value.strip()) <= _MAX_TEXT and value.isprintable()


def _wrong(message: str) -> ConfigError:
    return ConfigError(message, remedy=f"Write it in assent.toml like this:\n\n{EXAMPLE}\n")
