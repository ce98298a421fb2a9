"""Where a text holds an address, a number or a key: functions from a text to the spans of what they find.

Each takes time in proportion to the text's length, whatever is in it: a pattern is tried at a position with
a bounded reach, and what has no fixed bound is matched possessively, without going back. What looks alike but
is something else (ids, dates, prices, versions, hashes) is kept by checks of length, grouping and checksum.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable, Iterator

Span = tuple[int, int]
Find = Callable[[str], Iterator[Span]]

# -- e-mail addresses ----------------------------------------------------------------------------------------

_LONGEST_LOCAL = 64
_LONGEST_DOMAIN = 255
_BACKWARDS = re.compile(r"[\w.%+'-]+")  # the part before the sign, from its end
_DOMAIN = re.compile(r"(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.)+(?:[^\W\d_]{2,24}|xn--[a-z0-9-]{2,59})(?![\w-])")
_NOT_IN_FRONT = ".'%+-"


def find_emails(text: str) -> Iterator[Span]:
    """E-mail addresses, also international ones and those in URLs (`mailto:`)."""
    done, at = 0, text.find("@")
    while at >= 0:
        after = at + 1
        domain = _DOMAIN.match(text, after, after + _LONGEST_DOMAIN)
        if domain is not None:
            local = _local_part(text[max(done, at - _LONGEST_LOCAL) : at])
            if local and not (local == "git" and text[domain.end() : domain.end() + 1] in (":", "/")):
                done = after = domain.end()
                yield at - len(local), done
        at = text.find("@", after)


def _local_part(before: str) -> str:
    """The end of a text as far as it can be the name in front of the sign."""
    found = _BACKWARDS.match(before[::-1])
    return "" if found is None else found[0][::-1].lstrip(_NOT_IN_FRONT)


# -- phone numbers -------------------------------------------------------------------------------------------

_GAP = "[ \u00a0./()-]"
_INTERNATIONAL = re.compile(rf"(?<![\w+.])\+[1-9](?:{_GAP}{{0,2}}[0-9]){{6,14}}(?![0-9])")
_REST = "[2-9][0-9]{2}[ .-][0-9]{4}"
# The first character comes before the look behind it: so the search skips at once to characters that fit.
_NATIONAL = re.compile(
    r"[(0-9](?<![\w.,:/+#-][(0-9])(?<![0-9]{2} [(0-9])(?:"
    # 0049 151 1234567
    r"(?<=0)0[1-9][0-9]{0,2}(?:[ /-][0-9]{2,8}){2,5}"
    # 030 1234567, 0151-12345678, (020) 7946 0958, 089/123456
    r"|(?:(?<=\()0[1-9][0-9]{1,4}\) ?|(?<=0)[1-9][0-9]{1,4}[ /-])[0-9]{3,8}(?: [0-9]{2,5}){0,3}"
    # 01 23 45 67 89
    r"|(?<=0)[1-9](?:([ .])[0-9]{2})(?:\1[0-9]{2}){3}(?! [0-9a-f]{2} [0-9a-f]{2}\b)"
    # (415) 555-2671, 415.555.2671, 1-415-555-2671
    rf"|(?<=\()[2-9][0-9]{{2}}\) ?{_REST}|(?<=[2-9])[0-9]{{2}}[.-]{_REST}"
    rf"|(?<=1)[ .-](?:\([2-9][0-9]{{2}}\) ?|[2-9][0-9]{{2}}[.-]){_REST}"
    r")(?![\w/-]|[.,][0-9])"
)
_SIGNED_DECIMAL = re.compile(r"\+[0-9]+\.[0-9]+")
_NOT_DIGITS = re.compile(r"[^0-9]+")
_FEWEST_DIGITS = 8
_FEWEST_OF_NATIONAL = 9
_MOST_DIGITS = 15


def find_phones(text: str) -> Iterator[Span]:
    """Phone numbers: international with `+` or `00`; national ones that are grouped like one."""
    for found in _INTERNATIONAL.finditer(text) if "+" in text else ():
        if digits(found[0]) >= _FEWEST_DIGITS and not _SIGNED_DECIMAL.fullmatch(found[0]):
            yield found.span()
    for found in _NATIONAL.finditer(text):
        if _FEWEST_OF_NATIONAL <= digits(found[0]) <= _MOST_DIGITS:
            yield found.span()


def digits(text: str) -> int:
    """How many digits it has."""
    return len(_NOT_DIGITS.sub("", text))


# -- credit cards --------------------------------------------------------------------------------------------

_CARD = re.compile(
    r"[2-6](?<![\w+.-][2-6])(?:"
    r"[0-9]{13,18}"
    "|[0-9]{3}([ \u00a0.-])[0-9]{4}\\1[0-9]{4}\\1[0-9]{4}(?:\\1[0-9]{3})?"
    "|(?<=3)[0-9]{3}([ \u00a0.-])[0-9]{6}\\2[0-9]{4,5}"
    r")(?![\w-]|\.[0-9])"
)
_ISSUED = re.compile(
    r"4(?:[0-9]{15}|[0-9]{18})"  # Visa
    r"|(?:5[1-5][0-9]{2}|222[1-9]|22[3-9][0-9]|2[3-6][0-9]{2}|27[01][0-9]|2720)[0-9]{12}"  # Mastercard
    r"|3[47][0-9]{13}"  # American Express
    r"|(?:6011|65[0-9]{2}|64[4-9][0-9])[0-9]{12,15}"  # Discover
    r"|35(?:2[89]|[3-8][0-9])[0-9]{12,15}"  # JCB
    r"|3(?:0[0-5]|[689][0-9])[0-9]{11}"  # Diners Club
    r"|62[0-9]{14,17}"  # UnionPay
    r"|(?:5018|5020|5038|5893|6304|6759|676[1-3])[0-9]{10,15}"  # Maestro
)
_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)


def find_cards(text: str) -> Iterator[Span]:
    """Credit and debit cards: an issuer's beginning and length, and the check digit right (Luhn)."""
    found = _CARD.search(text)
    while found is not None:
        after = found.start() + 1
        if is_card(_NOT_DIGITS.sub("", found[0])):
            after = found.end()
            yield found.span()
        found = _CARD.search(text, after)


def is_card(number: str) -> bool:
    """Whether digits are a card's."""
    if _ISSUED.fullmatch(number) is None:
        return False
    values = list(map(int, reversed(number)))
    return (sum(values[::2]) + sum(_DOUBLED[value] for value in values[1::2])) % 10 == 0


# -- bank accounts -------------------------------------------------------------------------------------------

# By country: how many characters an IBAN has (SWIFT's registry, release 99).
_LENGTHS = {
    country: int(length)
    for country, length in re.findall(
        "([A-Z]{2})([0-9]{2})",
        "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 "
        "EE20 EG29 ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23 IQ23 IS26 "
        "IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 "
        "NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 "
        "SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30",
    )
}
# Found by its digits, which are rarer than letters.
_CHECK_DIGITS = re.compile("[0-9](?<=[A-Za-z]{2}[0-9])(?<![A-Za-z0-9][A-Za-z]{2}[0-9])[0-9]")
_IBAN_GOES_ON = {
    length: re.compile(rf"(?:[ \u00a0-]?[A-Za-z0-9]){{{length - 4}}}(?![A-Za-z0-9])")
    for length in set(_LENGTHS.values())
}


def find_ibans(text: str) -> Iterator[Span]:
    """IBANs: a country's length, and the check digits right (modulo 97)."""
    found = _CHECK_DIGITS.search(text)
    while found is not None:
        after, start = found.end(), found.start() - 2
        goes_on = _IBAN_GOES_ON.get(_LENGTHS.get(text[start : start + 2].upper(), 0))
        rest = None if goes_on is None else goes_on.match(text, after)
        if rest is not None and is_iban(text[start:after] + rest[0]):
            after = rest.end()
            yield start, after
        found = _CHECK_DIGITS.search(text, after)


def is_iban(text: str) -> bool:
    """Whether the check digits are right."""
    plain = "".join(filter(str.isalnum, text)).upper()
    return int("".join(str(int(char, 36)) for char in plain[4:] + plain[:4])) % 97 == 1


# -- keys and tokens -----------------------------------------------------------------------------------------

_KEY = re.compile(
    r"(?<![A-Za-z0-9_-])(?:"  # what a key goes on with: so no position is looked at from two starts
    r"sk-[A-Za-z0-9_-]{20,}+"  # OpenAI, Anthropic, OpenRouter
    r"|(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}(?![A-Za-z0-9])"  # AWS
    r"|gh[opsur]_[A-Za-z0-9]{36,}+|github_pat_[A-Za-z0-9_]{22,}+|glpat-[A-Za-z0-9_-]{20,}+"  # GitHub, GitLab
    r"|xox[abeoprs]-[A-Za-z0-9-]{10,}+|xapp-[A-Za-z0-9-]{10,}+"  # Slack
    r"|hooks\.slack\.com/(?:services|workflows)/[A-Za-z0-9/_-]{20,}+"
    r"|AIza[A-Za-z0-9_-]{35}|ya29\.[A-Za-z0-9_-]{20,}+|GOCSPX-[A-Za-z0-9_-]{20,}+"  # Google
    r"|eyJ[A-Za-z0-9_-]{8,}+\.eyJ[A-Za-z0-9_-]{8,}+\.[A-Za-z0-9_-]*+"  # JSON web tokens
    r"|[rs]k_(?:live|test)_[A-Za-z0-9]{16,}+|whsec_[A-Za-z0-9+/]{20,}+"  # Stripe
    r"|psk_[A-Za-z0-9_-]{16,}+"  # Banyan
    r"|hf_[A-Za-z0-9]{30,}+|npm_[A-Za-z0-9]{36}|pypi-[A-Za-z0-9_-]{50,}+"
    r"|SG\.[A-Za-z0-9_-]{16,}+\.[A-Za-z0-9_-]{16,}+"  # SendGrid
    r")"
)
_KEY_BEGINS = {
    "_": (
        "ghp_",
        "gho_",
        "ghs_",
        "ghu_",
        "ghr_",
        "github_pat_",
        "k_live_",
        "k_test_",
        "whsec_",
        "psk_",
        "hf_",
        "npm_",
    ),
    "-": ("sk-", "glpat-", "xox", "xapp-", "GOCSPX-", "pypi-"),
    "": ("AKIA", "ASIA", "ABIA", "ACCA", "hooks.slack.com", "AIza", "ya29.", "eyJ", "SG."),
}
_AFTER_A_NAME = re.compile(
    r"(?:(?<![A-Za-z0-9])bearer[ \t]{1,4}"
    r"|authorization[\"']?[ \t]{0,4}[:=][ \t]{0,4}[\"']?basic[ \t]{1,4}"
    r"|aws_?secret_?(?:access_?)?key[\"']?[ \t]{0,4}[:=][ \t]{0,4}[\"']?)"
    r"([A-Za-z0-9._~+/-]{16,}+={0,2})",
    re.IGNORECASE,
)
_BASIC = re.compile(
    r"(?:\A|authorization[\"']?[ \t]{0,4}[:=][ \t]{0,4}[\"']?)basic[ \t]{1,4}([A-Za-z0-9+/]{4,}={0,2})",
    re.IGNORECASE,
)
_NAMES = ("bearer", "authorization", "secret")
_IN_A_URL = re.compile(r"(?<=://)[^\s/:@\"'<>]{0,128}:([^\s/@\"'<>]{1,256})@")
_PRIVATE_KEY = "PRIVATE KEY-----"
_PEM_BEGINS = re.compile(r"-----BEGIN (?:[A-Z]{1,10} ){0,3}PRIVATE KEY-----")
_PEM_ENDS = re.compile(r"-----END (?:[A-Z]{1,10} ){0,3}PRIVATE KEY-----")
_HAS_DIGIT = re.compile("[0-9]")


def find_keys(text: str) -> Iterator[Span]:
    """API keys, by how each provider's begin; bearer tokens, passwords in URLs, and private keys (PEM)."""
    if _may_have_key(text):
        yield from (found.span() for found in _KEY.finditer(text) if _HAS_DIGIT.search(found[0]))
    lower = text.lower()
    if any(name in lower for name in _NAMES):
        for found in _AFTER_A_NAME.finditer(text):
            if _HAS_DIGIT.search(found[1]):
                yield found.span(1)
    if "basic" in lower:  # a header's value may stand alone: in a dict, or in JSON
        yield from (found.span(1) for found in _BASIC.finditer(text) if _is_basic(found[1]))
    if "://" in text and "@" in text:
        yield from (found.span(1) for found in _IN_A_URL.finditer(text))
    if _PRIVATE_KEY in text:
        yield from _pem_blocks(text)


def _is_basic(encoded: str) -> bool:
    """Whether this is a user and a password in Base64, however short: 'Authorization: Basic' may be prose."""
    try:
        plain = b64decode(encoded, validate=True).decode()
    except ValueError:
        return False
    return ":" in plain and plain.isprintable()


def _may_have_key(text: str) -> bool:
    return any(
        sign in text and any(beginning in text for beginning in beginnings)
        for sign, beginnings in _KEY_BEGINS.items()
    )


def _pem_blocks(text: str) -> Iterator[Span]:
    begins = _PEM_BEGINS.search(text)
    while begins is not None:
        ends = _PEM_ENDS.search(text, begins.end())
        end = len(text) if ends is None else ends.end()  # one that was cut is as secret
        yield begins.start(), end
        begins = _PEM_BEGINS.search(text, end)
