"""An invented clientele: Swiss, French, German and Italian speakers, their companies, and their numbers as people type them.

Values only, the same for the same seed; each vendor's sandbox writes them in its own way. All names are made up by
combination; numbers are from ranges set aside for fiction where a country has one that libphonenumber takes for valid (fixed
lines in France, Germany), else plain sequences.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import msgspec
import phonenumbers
from phonenumbers import PhoneNumberFormat


class Invented(msgspec.Struct, frozen=True, kw_only=True):
    """One person as a CRM would have them. `phone` and `mobile` are as typed; `e164` is what the first of them means."""

    first_name: str
    last_name: str
    salutation: str
    language: str  # "de-ch", "fr", …
    email: str
    phone: str
    mobile: str
    e164: tuple[str, ...]
    company: str
    role: str
    city: str
    country: str
    tier: str  # subscriber, lead, opportunity, customer, evangelist: rough ranks most CRMs know


class House(msgspec.Struct, frozen=True, kw_only=True):
    """A company."""

    name: str
    domain: str
    phone: str
    city: str
    country: str


class Clientele(msgspec.Struct, frozen=True, kw_only=True):
    houses: tuple[House, ...]
    people: tuple[Invented, ...]


class _Region(msgspec.Struct, frozen=True):
    languages: tuple[str, ...]
    country: str
    code: str
    salutations: tuple[str, str]
    first: tuple[tuple[str, ...], tuple[str, ...]]  # men, women
    last: tuple[str, ...]
    cities: tuple[str, ...]
    roles: tuple[str, ...]
    forms: tuple[str, ...]
    trades: tuple[str, ...]
    fixed: tuple[str, ...]
    mobile: tuple[str, ...]
    weight: int


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_GERMAN = (
    _words("Urs Reto Beat Lukas Jürg Matthias Florian Andreas Thomas Stefan Hanspeter Niklaus"),
    _words("Regula Ursina Corinne Anja Sabine Monika Silvia Katharina Rahel Vreni Barbara Nadine"),
)
_FRENCH = (
    _words("Jean Luc Étienne Pascal Yves Olivier Mathieu François Thierry Rémy Benoît Jérôme"),
    _words("Chloé Amélie Céline Sylvie Hélène Aurélie Noémie Françoise Margaux Élodie Claire Inès"),
)
_ITALIAN = (
    _words("Luca Marco Davide Fabio Gianluca Matteo Sandro Claudio"),
    _words("Chiara Giulia Elena Francesca Paola Sofia Laura Daniela"),
)
REGIONS = (
    _Region(
        ("de-ch", "de-ch", "en"),
        "Schweiz",
        "CH",
        ("Herr", "Frau"),
        _GERMAN,
        _words("Ammannhof Brülisacher Chäppeler Dübenreuter Egliswiler Flückenmatt Gantenegger Hürlibach Imobertal"),
        _words("Zürich Bern Basel Luzern Winterthur Aarau Chur Zug"),
        _words("Geschäftsführer Einkauf Buchhaltung Projektleitung Sekretariat Disposition"),
        ("AG", "GmbH", "& Söhne AG"),
        _words("Treuhand Metallbau Gartenbau Elektro Schreinerei Logistik Optik Garage"),
        ("4466818", "3155501", "6155502", "4155503"),
        ("7955501", "7855502", "7655503", "7755504"),
        80,
    ),
    _Region(
        ("fr-ch", "fr-ch", "fr"),
        "Suisse",
        "CH",
        ("Monsieur", "Madame"),
        _FRENCH,
        _words("Aubertval Blanchérin Chevrolaz Dufourmont Esseivard Favrelieu Grandjonc Jaquerod Monnerive"),
        _words("Genève Lausanne Neuchâtel Fribourg Sion Nyon Vevey Delémont"),
        _words("Directrice Achats Comptabilité Secrétariat Gérant Logistique"),
        ("SA", "Sàrl", "& Fils SA"),
        _words("Fiduciaire Menuiserie Horlogerie Vignoble Garage Imprimerie Paysages Optique"),
        ("2255501", "2155502", "3255503", "2655504"),
        ("7955511", "7855512", "7655513"),
        60,
    ),
    _Region(
        ("it-ch", "it"),
        "Svizzera",
        "CH",
        ("Signor", "Signora"),
        _ITALIAN,
        _words("Bernasca Cattanori Delmonti Fontanella Galfettini Lurascone Pedrazzoli"),
        _words("Lugano Bellinzona Locarno Mendrisio"),
        _words("Direttore Acquisti Contabilità Segreteria"),
        ("SA", "Sagl"),
        _words("Edilizia Trasporti Giardini Officina Ottica"),
        ("9155501",),
        ("7955521", "7655523"),
        25,
    ),
    _Region(
        ("fr-fr",),
        "France",
        "FR",
        ("Monsieur", "Madame"),
        _FRENCH,
        _words("Arnoulin Bourgevin Castaneau Delacombe Ferrandière Guillemard Lavergnolle Montclair"),
        _words("Lyon Annecy Paris Lille Nantes Strasbourg"),
        _words("Gérante Achats Comptabilité Direction"),
        ("SARL", "SAS"),
        _words("Ateliers Transports Conseil Jardins Électricité"),
        ("1990012", "4657134", "3530156"),
        ("612345", "698765"),
        35,
    ),
    _Region(
        ("de-de", "de"),
        "Deutschland",
        "DE",
        ("Herr", "Frau"),
        _GERMAN,
        _words("Ackerbusch Brinkenau Dornhagen Eichenroth Falkenried Hohenlinde Krähwinter"),
        _words("Konstanz München Hamburg Köln Freiburg"),
        _words("Geschäftsführung Einkauf Vertrieb"),
        ("GmbH", "KG"),
        _words("Maschinenbau Spedition Haustechnik Verlag"),
        ("30231254", "69900093", "89999981"),
        ("17139200",),
        20,
    ),
)
_TIERS = ("subscriber", "lead", "lead", "opportunity", "customer", "customer", "customer", "evangelist")


def _international(number: phonenumbers.PhoneNumber) -> str:
    return phonenumbers.format_number(number, PhoneNumberFormat.INTERNATIONAL)


def _national(number: phonenumbers.PhoneNumber) -> str:
    return phonenumbers.format_number(number, PhoneNumberFormat.NATIONAL)


def _with_zero(number: phonenumbers.PhoneNumber) -> str:
    """+41 (0)44 668 18 00"""
    code, _, rest = _international(number).partition(" ")
    return f"{code} (0){rest}"


def _double_zero(number: phonenumbers.PhoneNumber) -> str:
    return "00" + phonenumbers.format_number(number, PhoneNumberFormat.E164)[1:]


_HARD_SPACE = "\N{NO-BREAK SPACE}"
# How people write numbers, the tidy ways more often than the odd ones. The first two may be combined with a second number.
SPELLINGS: Sequence[Callable[[phonenumbers.PhoneNumber], str]] = (
    _international,
    _national,
    _national,
    lambda number: phonenumbers.format_number(number, PhoneNumberFormat.E164),
    _with_zero,
    _double_zero,
    lambda number: _national(number).replace(" ", "."),
    lambda number: _national(number).replace(" ", "-"),
    lambda number: _national(number).replace(" ", ""),
    lambda number: _national(number).replace(" ", "/", 1),
    lambda number: f"{_international(number)} ext. 12",
    lambda number: f"  {_national(number)} ".replace(" ", _HARD_SPACE),
    lambda number: f"Tel. {_national(number)} (nur vormittags)",
)


def invent(*, people: int = 220, seed: int = 1) -> Clientele:
    """A clientele of about this many people. The first ones are always the same, whatever the seed."""
    chance = random.Random(seed)
    regions = [region for region in REGIONS for _ in range(region.weight)]
    houses = [_house(chance, chance.choice(regions)) for _ in range(max(1, people // 6))]
    houses = list({house.name: house for house in houses}.values())
    known = list(KNOWN)
    emails = {person.email for person in known}
    while len(known) < people:
        person = _person(chance, chance.choice(regions), houses)
        if person.email and person.email in emails:
            continue
        emails.add(person.email)
        known.append(person)
    return Clientele(houses=(*(_house_of(person) for person in KNOWN[:1]), *houses), people=tuple(known))


def _person(chance: random.Random, region: _Region, houses: Sequence[House]) -> Invented:
    woman = chance.random() < 0.5
    first, last = chance.choice(region.first[woman]), chance.choice(region.last)
    local = [house for house in houses if house.country == region.country]
    house = chance.choice(local) if local and chance.random() < 0.8 else None
    fixed, mobile = _number(chance, region.fixed, region.code), _number(chance, region.mobile, region.code)
    phone = chance.choice(SPELLINGS)(fixed) if chance.random() < 0.75 else ""
    cell = chance.choice(SPELLINGS)(mobile) if chance.random() < 0.7 or not phone else ""
    if phone and not cell and chance.random() < 0.2:
        phone = f"{_national(fixed)} / {_national(mobile)}"  # two in one field
    meant = [number for number, typed in ((fixed, phone), (mobile, cell)) if typed]
    domain = house.domain if house else "mail.example"
    return Invented(
        first_name=first,
        last_name=last,
        salutation=region.salutations[woman],
        language=chance.choice(region.languages),
        email=f"{plain(first)}.{plain(last)}@{domain}" if chance.random() < 0.85 else "",
        phone=phone,
        mobile=cell,
        e164=tuple(phonenumbers.format_number(number, PhoneNumberFormat.E164) for number in meant),
        company=house.name if house else "",
        role=chance.choice(region.roles) if house else "",
        city=house.city if house else chance.choice(region.cities),
        country=region.country,
        tier=chance.choice(_TIERS),
    )


def _house(chance: random.Random, region: _Region) -> House:
    name = f"{chance.choice(region.trades)} {chance.choice(region.last)} {chance.choice(region.forms)}"
    return House(
        name=name,
        domain=f"{plain(name.rsplit(' ', 1)[0])}.example",
        phone=chance.choice(SPELLINGS[:8])(_number(chance, region.fixed, region.code)),
        city=chance.choice(region.cities),
        country=region.country,
    )


def _house_of(person: Invented) -> House:
    domain = person.email.partition("@")[2]
    return House(name=person.company, domain=domain, phone="043 555 01 00", city=person.city, country=person.country)


def _number(chance: random.Random, prefixes: Sequence[str], region: str) -> phonenumbers.PhoneNumber:
    """A number of the region, national digits starting with one of the prefixes; never one of `KNOWN`'s."""
    prefix = chance.choice(prefixes)
    length = {"CH": 9, "FR": 9, "DE": 10 if prefix.startswith("171") else 11}[region]
    digits = prefix + "".join(chance.choice("0123456789") for _ in range(length - len(prefix)))
    number = phonenumbers.parse(f"0{digits}", region)
    reserved = {e164 for person in KNOWN for e164 in person.e164}
    if phonenumbers.format_number(number, PhoneNumberFormat.E164) in reserved:
        return _number(chance, prefixes, region)
    return number


def plain(text: str) -> str:
    """For addresses: "Étienne & Söhne" → "etienne-soehne"."""
    folded = text.lower().replace("ä", "ae").replace("ö", "oe").replace("ü", "ue")
    folded = folded.translate(str.maketrans("àâéèêëîïôûùç", "aaeeeeiiouuc"))
    return "-".join(filter(None, "".join(sign if sign.isalnum() else " " for sign in folded).split()))


def _known(first: str, last: str, phone: str, e164: str, **more: str) -> Invented:
    told = {
        "salutation": "Monsieur",
        "language": "fr-ch",
        "email": f"{plain(first)}.{plain(last)}@atelier-dupont.example",
        "mobile": "",
        "company": "Atelier Dupont SA",
        "role": "Gérant",
        "city": "Zürich",
        "country": "Suisse",
        "tier": "customer",
        **more,
    }
    return Invented(first_name=first, last_name=last, phone=phone, e164=tuple(e164.split()), **told)


# Always there: the caller of the demo, and a pair whose numbers differ in nothing but the country code.
KNOWN = (
    _known("Jean", "Dupont", "+41 (0)44 668 18 00", "+41446681800"),
    _known("Aline", "Voisard", "076 555 12 34", "+41765551234", salutation="Madame", role="Achats"),
    _known(
        "Hugo",
        "Castaneau",
        "+33 7 65 55 12 34",
        "+33765551234",
        language="fr-fr",
        email="hugo.castaneau@mail.example",
        company="",
        role="",
        city="Lyon",
        country="France",
        tier="lead",
    ),
)
