"""The miniature world's words in English, Swahili, Spanish and Indonesian, and its made-up names.

A word is known by its English dictionary form, whatever the language. `_` joins words that are written apart.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from functools import cache
from itertools import product
from typing import Literal, NamedTuple

LANGUAGES = ("en", "sw", "es", "id")
Split = Literal["train", "validation", "test"]
Kind = Literal["PER", "LOC", "ORG"]


class Noun(NamedTuple):
    """A countable noun.

    Attributes:
        general: The noun for the more general kind that this one belongs to; of the general ones, itself.
        en: English singular and plural.
        sw: Swahili singular and plural.
        concord: Swahili agreement: that of the classes m-/wa-, ki-/vi-, n-/n-, ji-/ma- or m-/mi- ("wa", "ki", ...).
        es: Spanish singular and plural.
        feminine: Spanish gender.
        id: Indonesian.
    """

    general: str
    en: tuple[str, str]
    sw: tuple[str, str]
    concord: str
    es: tuple[str, str]
    feminine: bool
    id: str


class Verb(NamedTuple):
    """A transitive verb.

    Attributes:
        opposite: The verb that says the contrary, or None.
        en: English base form, past, participle, -ing form.
        sw: Swahili stem and passive stem.
        es: Spanish past (singular, plural), present (singular, plural), future (singular, plural), participle (-o).
        id: Indonesian active and passive.
    """

    opposite: str | None
    en: tuple[str, ...]
    sw: tuple[str, str]
    es: tuple[str, ...]
    id: tuple[str, str]


class Adjective(NamedTuple):
    """A quality.

    Attributes:
        scale: Two different qualities of one scale exclude each other.
        sw: Swahili stem, the form that agrees with n-/n-, and the one that agrees with the singular of ji-/ma-.
        es: Spanish masculine singular.
        id: Indonesian.
    """

    scale: str
    sw: tuple[str, str, str]
    es: str
    id: str


class Site(NamedTuple):
    """A kind of place: English preposition and noun, Swahili locative, Spanish noun and gender, Indonesian noun."""

    preposition: str
    en: str
    sw: str
    es: str
    feminine: bool
    id: str


def _rows(table: str) -> list[list[str]]:
    return [line.split() for line in table.strip().splitlines()]


def _noun(general: str, one: str, many: str, sw: str, sw_many: str, concord: str, *rest: str) -> Noun:
    es, es_many, gender, indonesian = rest
    return Noun(general, (one, many), (sw, sw_many), concord, (es, es_many), gender == "f", indonesian)


# Kind; English; Swahili; its class; Spanish; its gender; Indonesian.
_THINGS = """
thing   book books           kitabu vitabu       ki  libro libros             m  buku
thing   chair chairs         kiti viti           ki  silla sillas             f  kursi
thing   knife knives         kisu visu           ki  cuchillo cuchillos       m  pisau
thing   basket baskets       kikapu vikapu       ki  cesta cestas             f  keranjang
thing   cup cups             kikombe vikombe     ki  taza tazas               f  cangkir
thing   bed beds             kitanda vitanda     ki  cama camas               f  ranjang
thing   table tables         meza meza           n   mesa mesas               f  meja
thing   letter letters       barua barua         n   carta cartas             f  surat
thing   phone phones         simu simu           n   teléfono teléfonos       m  telepon
thing   bicycle bicycles     baiskeli baiskeli   n   bicicleta bicicletas     f  sepeda
thing   drum drums           ngoma ngoma         n   tambor tambores          m  gendang
thing   hat hats             kofia kofia         n   sombrero sombreros       m  topi
thing   car cars             gari magari         ji  coche coches             m  mobil
thing   box boxes            sanduku masanduku   ji  caja cajas               f  kotak
thing   shirt shirts         shati mashati       ji  camisa camisas           f  kemeja
thing   hoe hoes             jembe majembe       ji  azada azadas             f  cangkul
thing   bag bags             mfuko mifuko        mi  bolsa bolsas             f  tas
thing   door doors           mlango milango      mi  puerta puertas           f  pintu
fruit   mango mangoes        embe maembe         ji  mango mangos             m  mangga
fruit   orange oranges       chungwa machungwa   ji  naranja naranjas         f  jeruk
fruit   pineapple pineapples nanasi mananasi     ji  piña piñas               f  nanas
fruit   banana bananas       ndizi ndizi         n   plátano plátanos         m  pisang
animal  goat goats           mbuzi mbuzi         wa  cabra cabras             f  kambing
animal  cow cows             ng'ombe ng'ombe     wa  vaca vacas               f  sapi
animal  dog dogs             mbwa mbwa           wa  perro perros             m  anjing
animal  cat cats             paka paka           wa  gato gatos               m  kucing
animal  chicken chickens     kuku kuku           wa  pollo pollos             m  ayam
thing   thing things         kitu vitu           ki  cosa cosas               f  barang
fruit   fruit fruits         tunda matunda       ji  fruta frutas             f  buah
animal  animal animals       mnyama wanyama      wa  animal animales          m  hewan
"""
_ROLES = """
person  teacher teachers     mwalimu walimu      wa  maestro maestros         m  guru
person  farmer farmers       mkulima wakulima    wa  agricultor agricultores  m  petani
person  doctor doctors       daktari madaktari   wa  médico médicos           m  dokter
person  student students     mwanafunzi wanafunzi wa estudiante estudiantes   m  siswa
person  driver drivers       dereva madereva     wa  conductor conductores    m  sopir
person  fisherman fishermen  mvuvi wavuvi        wa  pescador pescadores      m  nelayan
person  nurse nurses         muuguzi wauguzi     wa  enfermero enfermeros     m  perawat
person  writer writers       mwandishi waandishi wa  escritor escritores      m  penulis
person  cook cooks           mpishi wapishi      wa  cocinero cocineros       m  juru_masak
person  trader traders       mfanyabiashara wafanyabiashara wa comerciante comerciantes m pedagang
person  person people        mtu watu            wa  persona personas         f  orang
"""
# Opposite; English; Swahili; Spanish; Indonesian.
_VERBS = """
sell    buy bought bought buying          nunua nunuliwa       compró compraron compra compran comprará comprarán comprado           membeli dibeli
buy     sell sold sold selling            uza uzwa             vendió vendieron vende venden venderá venderán vendido                menjual dijual
receive send sent sent sending            tuma tumwa           envió enviaron envía envían enviará enviarán enviado                  mengirim dikirim
send    receive received received receiving pokea pokelewa     recibió recibieron recibe reciben recibirá recibirán recibido         menerima diterima
show    hide hid hidden hiding            ficha fichwa         escondió escondieron esconde esconden esconderá esconderán escondido  menyembunyikan disembunyikan
hide    show showed shown showing         onyesha onyeshwa     mostró mostraron muestra muestran mostrará mostrarán mostrado         menunjukkan ditunjukkan
pull    push pushed pushed pushing        sukuma sukumwa       empujó empujaron empuja empujan empujará empujarán empujado           mendorong didorong
push    pull pulled pulled pulling        vuta vutwa           jaló jalaron jala jalan jalará jalarán jalado                         menarik ditarik
-       carry carried carried carrying    beba bebwa           cargó cargaron carga cargan cargará cargarán cargado                  membawa dibawa
-       wash washed washed washing        osha oshwa           lavó lavaron lava lavan lavará lavarán lavado                         mencuci dicuci
-       draw drew drawn drawing           chora chorwa         dibujó dibujaron dibuja dibujan dibujará dibujarán dibujado           menggambar digambar
-       steal stole stolen stealing       iba ibwa             robó robaron roba roban robará robarán robado                         mencuri dicuri
"""  # noqa: E501
# Scale; English; Swahili stem, with n-/n-, with the singular of ji-/ma-; Spanish; Indonesian.
_ADJECTIVES = """
size    big    kubwa kubwa kubwa    grande   besar
size    small  dogo ndogo dogo      pequeño  kecil
length  long   refu ndefu refu      largo    panjang
length  short  fupi fupi fupi       corto    pendek
weight  heavy  zito nzito zito      pesado   berat
weight  light  epesi nyepesi jepesi ligero   ringan
worth   good   zuri nzuri zuri      bueno    bagus
worth   bad    baya mbaya baya      malo     buruk
colour  red    ekundu nyekundu jekundu rojo  merah
colour  black  eusi nyeusi jeusi    negro    hitam
colour  white  eupe nyeupe jeupe    blanco   putih
age     new    pya mpya jipya       nuevo    baru
"""
_SITES = """
at market sokoni mercado m pasar
at school shuleni escuela f sekolah
at hospital hospitalini hospital m rumah_sakit
on beach ufukweni playa f pantai
on farm shambani granja f ladang
in village kijijini aldea f desa
at station kituoni estación f stasiun
at office ofisini oficina f kantor
in forest msituni bosque m hutan
at church kanisani iglesia f gereja
"""

_TABLES = (_THINGS, _ROLES, _VERBS, _SITES, _ADJECTIVES)

THINGS: Mapping[str, Noun] = {row[1]: _noun(*row) for row in _rows(_THINGS)}
ROLES: Mapping[str, Noun] = {row[1]: _noun(*row) for row in _rows(_ROLES)}
NOUNS: Mapping[str, Noun] = {**THINGS, **ROLES}
VERBS: Mapping[str, Verb] = {
    row[1]: Verb(
        None if row[0] == "-" else row[0], tuple(row[1:5]), (row[5], row[6]), tuple(row[7:14]), (row[14], row[15])
    )
    for row in _rows(_VERBS)
}
ADJECTIVES: Mapping[str, Adjective] = {
    row[1]: Adjective(row[0], (row[2], row[3], row[4]), row[5], row[6]) for row in _rows(_ADJECTIVES)
}
SITES: Mapping[str, Site] = {
    row[1]: Site(row[0], row[1], row[2], row[3], row[4] == "f", row[5]) for row in _rows(_SITES)
}

NUMERALS: Mapping[str, tuple[str, ...]] = {
    "en": ("two", "three", "four", "five"),
    "sw": ("wili", "tatu", "nne", "tano"),  # stems; "mbili" with n-/n-
    "es": ("dos", "tres", "cuatro", "cinco"),
    "id": ("dua", "tiga", "empat", "lima"),
}
"""Two to five."""

# Word/tag for each language; the tense that the time goes with stands first.
_TIMES = """
past    yesterday yesterday/ADV      jana/ADV                ayer/ADV                       kemarin/ADV
past    last_week last/ADJ_week/NOUN wiki/NOUN_iliyopita/ADJ la/DET_semana/NOUN_pasada/ADJ  minggu/NOUN_lalu/ADJ
past    last_year last/ADJ_year/NOUN mwaka/NOUN_jana/ADV     el/DET_año/NOUN_pasado/ADJ     tahun/NOUN_lalu/ADJ
present now       now/ADV            sasa/ADV                ahora/ADV                      sekarang/ADV
present today     today/ADV          leo/ADV                 hoy/ADV                        hari/NOUN_ini/DET
present this_week this/DET_week/NOUN wiki/NOUN_hii/DET       esta/DET_semana/NOUN           minggu/NOUN_ini/DET
future  tomorrow  tomorrow/ADV       kesho/ADV               mañana/ADV                     besok/ADV
future  next_week next/ADJ_week/NOUN wiki/NOUN_ijayo/ADJ     la/DET_próxima/ADJ_semana/NOUN minggu/NOUN_depan/ADJ
future  next_year next/ADJ_year/NOUN mwaka/NOUN_ujao/ADJ     el/DET_próximo/ADJ_año/NOUN    tahun/NOUN_depan/ADJ
"""


class Time(NamedTuple):
    """When: the tense that goes with it, and for each language its words with their parts of speech."""

    tense: str
    words: Mapping[str, tuple[tuple[str, str], ...]]


def _tagged(words: str) -> tuple[tuple[str, str], ...]:
    pairs = [word.split("/") for word in words.split("_")]
    return tuple((word, tag) for word, tag in pairs)


TIMES: Mapping[str, Time] = {
    name: Time(tense, {language: _tagged(words) for language, words in zip(LANGUAGES, rest, strict=True)})
    for tense, name, *rest in _rows(_TIMES)
}

COMPANY_WORDS = ("Motors", "Press", "Foods", "Group", "Media", "Trust", "Airways", "Bank")
"""The second word of many organisations' names, the same in all languages."""

_OTHER_WORDS = """
huko nani nini wapi lini hapana ndiyo je kazi kampuni ya wa la cha za vya ni na yuko kiko siapa mana dari para apa
bekerja pergi sedang akan tidak telah oleh itu esta el de por no si son sera are now did was who her
"""
"""What a made-up name must not be, besides the words of the tables."""

_SHARES: Mapping[Split, float] = {"train": 0.8, "validation": 0.1, "test": 0.1}


@cache
def names(kind: Kind, split: Split) -> tuple[str, ...]:
    """Return the made-up names of a kind of entity that a split of the data draws from.

    They are built of the same syllables whatever the kind, so that it is the sentence that tells a person from a town,
    and no syllable sequence is in two splits or of two kinds. All unlabelled text draws from "train".
    """
    kinds: tuple[Kind, ...] = ("PER", "LOC", "ORG")
    mine = _cut([root for index, root in enumerate(_roots()) if index % 3 == kinds.index(kind)], split)
    if split != "train":  # what is held out must be new in every way
        mine = [root for root in mine if root.lower() not in _written_words()]
    generator = random.Random(f"names {kind} {split}")
    if kind == "PER":
        half = len(mine) // 2
        first, last = mine[:half], mine[half:]
        full = [f"{generator.choice(first)} {generator.choice(last)}" for _ in range(len(first) // 2)]
        return tuple(dict.fromkeys([*first, *full]))
    if kind == "LOC":
        return tuple(mine)
    letters = _cut(_acronyms(), split)
    suffixed = [f"{root} {generator.choice(COMPANY_WORDS)}" for root in mine[::2]]
    return tuple([*suffixed, *mine[1::2], *letters[: len(mine) // 3]])


def _cut(every: list[str], split: Split) -> list[str]:
    start = 0.0
    for name, share in _SHARES.items():
        if name == split:
            return every[round(start * len(every)) : round((start + share) * len(every))]
        start += share
    raise ValueError(split)


@cache
def _written_words() -> set[str]:
    found = {word.lower() for table in (*_TABLES, _OTHER_WORDS) for word in table.split()}
    return found | {word for time in TIMES.values() for said in time.words.values() for word, _ in said}


@cache
def _roots() -> list[str]:
    """Two or three syllables each, in a fixed random order; none is a noun, verb or adjective."""
    onsets = (
        "b",
        "d",
        "f",
        "g",
        "h",
        "j",
        "k",
        "l",
        "m",
        "n",
        "p",
        "r",
        "s",
        "t",
        "v",
        "w",
        "y",
        "z",
        "ch",
        "sh",
        "nd",
    )
    generator = random.Random("roots")
    taken = {word.lower() for table in _TABLES for word in table.split()}
    found: dict[str, None] = {}
    while len(found) < 12_000:
        syllables = [generator.choice(onsets[:-1]) + generator.choice("aeiou")]
        syllables += [
            generator.choice(onsets) + generator.choice("aeiou") for _ in range(generator.choice((1, 1, 1, 2)))
        ]
        root = "".join(syllables) + generator.choice(("", "", "", "n", "r", "s"))
        if root not in taken:
            found[root.capitalize()] = None
    return list(found)


@cache
def _acronyms() -> list[str]:
    every = ["".join(letters) for letters in product("BCDFGHJKLMNPRSTVWZ", repeat=3) if len(set(letters)) == 3]
    random.Random("acronyms").shuffle(every)
    return every[:2400]
