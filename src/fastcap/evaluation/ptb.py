"""The tokens that caption metrics are computed on, without Java.

The COCO caption tool tokenises with Stanford CoreNLP 3.4.1's PTBTokenizer (Penn Treebank conventions),
lower-cases, and drops a list of punctuation marks. `ptb_tokens` writes those rules, as far as captions meet
them, as one regular expression. Of the 265,576 different captions of Flickr8k, Flickr30k train and COCO val2014 all
but 6 get the Java tool's tokens (what follows a caption in its file decides some of them there), and of 5,000 texts
drawn from what meets a tokenizer in the wild all but 6 (`benchmarks/ptb.py`).
"""

from __future__ import annotations

import html
import re
import unicodedata

from fastcap.errors import DataError, one_text

__all__ = ["ptb_tokens"]

PUNCTUATION = frozenset(["''", "'", "``", "`", '"', ".", "?", "!", ",", ":", "-", "--", "...", ";"])

# The COCO tool means to drop -LRB- and its kind too, but looks for them after lower-casing, so brackets stay
# as tokens; equal figures need the same slip.
BRACKETS = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}

# A bracket, also that of a smiley, and those of a telephone number.
SMILEYS = re.compile(
    r"(?<=^[:;=])[][(){}]$|(?<=^[:;=]['-])[][(){}]$|^[][(){}]$|^\((?=\d+\))|(?<=^\(\d\d)\)|(?<=^\(\d\d\d)\)"
)

SPELT = str.maketrans(
    {"’": "'", "›": "'", "‘": "`", "‛": "`", "‹": "`", "“": '"', "”": '"', "«": '"', "»": '"'}
    | {"–": " -- ", "—": " -- ", "―": " -- ", "…": " ... ", "\xa0": " ", "\xad": "", "٫": " ", "٬": " "}
    | {"€": "$", "₠": "$", "¤": "$", "£": "#", "¢": " cents "}
    | {"¼": " 1/4 ", "½": " 1/2 ", "¾": " 3/4 ", "⅓": " 1/3 ", "⅔": " 2/3 "}
)

# What the tool of 2014 knew beyond ASCII. Ranges of code points in hexadecimal: first symbols that are tokens, then
# letters and combining marks that came later, or that it takes for no part of a word.
SYMBOLS = """
    a1 a5-a9 ac ae-b4 b6-b9 bf d7 f7 37e 387 589 5be 5c0 5c3 5c6 5f3-603 606-60c 614 61b 61e-61f 66a 66d 6d4 700-70d
    7f6-7f8 964-965 e3f e4f 1fbd 2016-2017 201a 201e-2023 2030-2038 203b 203e-2042 2044 2070 2074-207e 2080-208e 20a4
    2100-2101 2103-2106 2108-2109 2114 2116-2118 211e-2123 2125 2127 2129 212e 213a-213b 2140-2144 214a-214d 214f
    2155-215e 2190-2bff 3001-3002 3012 30fb ff01-ff0f ff1a-ff20 ff3b-ff40 ff5b-ff65 ffe0-ffe1 ffe5-ffe6
"""
STRANGERS = """
    37f 488-489 528-52f 560 588 5ef 610-613 65f 7fd 816-819 81b-823 825-827 829-82d 859-8a1 8ad-8ff 93a-93b 94f 956-957
    978 980 9fc 9fe a51 a70-a71 a75 ae2-ae3 af9-b03 b3c b3e-b57 b62-b63 bd7 c00 c04 c34 c3c c5a-c5d c62-c63 c80-c83 cbc
    cbe-cdd ce2-ce3 d00-d04 d3b-d3c d4a-d4d d54-d57 d5f d62-d63 d81-d83 dca-df3 e86 e89 e8c e8e-e93 e98 ea0 ea8-ea9
    eac-eac f18-f19 f35 f37 f39 f3e-f3f f71-f84 f86-f87 f8d-fbc fc6 102b-103e 1056-1059 105e-1060 1062-1064 1067-106d
    1071-1074 1082-108d 108f 109a-109d 135d-135f 13f5-13fd 16f1-16f8 170d 1712-171f 1732-1734 1752-1753 1772-1773
    17b4-17d3 17dd 180b-180f 1878 18a9 191d-193b 19b0-19c0 19c8-19c9 1a17-1a1b 1a55-1a7f 1ab0-1b04 1b34-1b44 1b4c
    1b6b-1b73 1b80-1b82 1ba1-1bad 1be6-1bf3 1c24-1c37 1c80-1cd2 1cd4-1ce8 1ced 1cf2-1cfa 1dc0-1dff 20d0-20f0 2c2f 2c5f
    2cef-2cf1 2d7f 2de0-2dff 302a-302f 3099-309a 312e-312f 31bb-31bf 4db6-4dbf 9fcd-9fff a66f-a672 a674-a67d a698-a69f
    a6f0-a6f1 a78f a794-a79f a7ab-a7f7 a802 a806 a80b a823-a827 a82c a880-a881 a8b4-a8c5 a8e0-a8f1 a8fd-a8ff a926-a92d
    a947-a953 a980-a983 a9b3-a9c0 a9e0-a9fe aa29-aa36 aa43 aa4c-aa4d aa7b-aa7f aab0 aab2-aab4 aab7-aab8 aabe-aabf aac1
    aaeb-aaf6 ab30-abed fb1e fe00-fe0f fe20-fe2f
"""


def _code_points(ranges: str) -> frozenset[int]:
    ends = ((text.partition("-")[0], text.rpartition("-")[2]) for text in ranges.split())
    return frozenset(code for first, last in ends for code in range(int(first, 16), int(last, 16) + 1))


class _Kinds(dict[int, str]):
    """Code point -> a character of its kind: "ª" for combining marks, which belong to words, "¦" for symbols that are
    tokens of their own, and a space for what the tool does not know."""

    symbols, strangers = _code_points(SYMBOLS), _code_points(STRANGERS)

    def __missing__(self, code: int) -> str:
        category = unicodedata.category(chr(code))
        if code < 0x80:
            kind = chr(code)
        elif code in self.symbols:
            kind = "¦"
        elif code in self.strangers or code > 0xFFFF or not (category[0] in "LM" or category == "Nd"):
            kind = chr(code) if code in (0x2010, 0x2011) else " "  # hyphens within words
        else:
            kind = "ª" if category[0] == "M" else chr(code)
        self[code] = kind
        return kind


KINDS = _Kinds()

ABBREVIATIONS = (
    "mrs?|ms|drs?|profs?|sens?|reps?|govs?|attys?|supts?|revs?|ste?|messrs|mt|ft|gens?|lts?|cols?|capts?|cmdrs?|adms?|maj"
    "|sgts?|cpls?|pvts?|jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec|mon|tues?|wed|thurs?|fri|inc|cos?|corp|ltd|bros?"
    "|jr|sr|ave|blvd|rd|dept|univ|assn|etc|vs|esq|est|al|ca|cf|seq|sq|tel|penn|calif|ky"
)
STATES = (  # in capitals alone: a car wash is no Wash.
    "Ala|Alta|Ariz|Ark|Colo|Conn|Fla|Ga|Ill|Ind|Kan|La|Mass|Md|Mich|Minn|Miss|Mont|Neb|Nev|Okla|Ont|Ore|Pa"
    "|Tenn|Tex|Va|Vt|Wash|Wis|Wyo"
)
STARTS = (  # of a sentence: plan B. The dog
    "A|About|According|Additionally|After|An|As|At|But|He|Her|Here|However|If|In|It|Last|Many|More|Now|Once|One|Other"
    "|Our|She|Since|So|Some|Such|That|The|Their|Then|There|These|They|This|We|What|When|While|Yet|You"
)

L = r"[^\W\d_]"  # a letter
A = r"[^\W_]"  # a letter or digit
SIGN = r"(?:[:.+]|(?<![\w.)-])-)?"

PHONE = r"\d{3,4}[- ]?\d{3,5}(?!\w)"
RANGE = r"(?:\+\d|\d+(?::\d+)+)(?:-\d+(?:[:.]\d+)*)+"  # 12:30-13:00  +1-800-555-1234: all but the first number signed

TOKEN = re.compile(
    rf"""
    </?{L}[\w:-]*\s*/?> | <!--.*?-->
  | https?://[^\s<>"]*[^\s<>".,!?;:)\]}}'`|] | www\.[\w./-]*[\w/-]
  | [\w.+-]+@\w[\w-]*(?:\.[\w-]+)*[!?]? | \w+@[!?] | (?:[\w-]+\.)+(?:com|net|org|edu)\b(?:/[\w./?=&%~-]*[\w/])?
  | \#{L}+ | @[a-z]\w*                                                      # #tag  @user
  | \(\d{{2,3}}\)(?:(?=\ {PHONE})|{PHONE}) | {RANGE}(?![\w-]) | \d+-\d+(?=:\d)   # (555) 123-4567  9-17:00
  | [<>]?[:;=]['-]?[()dpo/\\|*\[\]{{}}](?![\w/]) | \^_\^ | \(\^[.-]?\^\)   # smileys
  | can(?=not\b) | gon(?=na\b) | got(?=ta\b) | wan(?=na\b) | lem(?=me\b) | gim(?=me\b) | 't(?=(?:is|was)\b)
  | (?:{A}+-)*(?:\b{L}\.){{2,}}(?:{L}\b)?(?:-(?:(?:{L}\.){{2,}}|{A}+))*                 # u.s.  ex-u.s.  u.s.-based
  | \b{L}\.{L}\b(?!\.\w) | ph\.d\.                                                # u.s.a
  | (?:no|nos|figs?|p|pp|art)\.(?=\s*\d) | \b(?:{ABBREVIATIONS}|(?-i:{STATES}))\.(?!\w)  # no. 7  st.
  | \b[a-z]\.(?!\w|\s*$)(?!\s+(?-i:{STARTS})\b) | {L}+\.(?=[,;])                           # (exhibit) b.
  | {L}+(?=n't(?![a-z])) | n't(?![a-z]) | '(?:s|m|d|re|ve|ll)(?![a-z])                       # does n't  dog 's
  | 'n' | 'n\b(?![.!]) | 'em\b | '(?:till?|cause)\b | '[2-9]0s\b | '\d\d(?!\S) 
  | dunkin' | somethin' | ol' | y'(?={L}) | j'(?=ai\b) | cap'n
  | (?<![\w'])[dl]'(?!\w) | (?<![\w'])[a-hk-ln-psu-xz]'{L}{{2,}} | {L}*[aeiouy]'[aeiou]{L}*  # o'clock  d'oeuvre
  | (?-i:[A-Z]+&[A-Z]+) | c\+\+ | [cf]\#
  | \d+:\d+(?=[ap]\.?m\b) | \d+/\d+-{A}+
  | {SIGN}\d+(?:[.,:]\d+)+(?![\d/-]) | {SIGN}\d+(?:[.,:/-]\d+)*(?!{A}|-\w)  # 5:54 pm  3.5  20-30
  | \b[a-z]{{1,2}}\$ | {A}+(?:_+{A}+)+
  | {A}+(?:[-\u2010\u2011]{A}+)+ | {L}+(?:\.{L}+)+ | {L}+(?:\\?/{L}+)+ | \\\*     # t-shirt  site.com  and/or
  | {A}+ | -[lr][rsc]b- | \.\.\. | ''|``|--|<<|>> | [?!]{{2,}} | \*+ | _+
  | [^\s\u2010\u2011]
    """,
    re.VERBOSE | re.IGNORECASE,
)

RANGES, SIGNED = re.compile(RANGE), re.compile(r"(?<=\d)(?=-)")


def ptb_tokens(caption: str) -> list[str]:
    """The lower-case tokens of a caption, without punctuation, as the COCO caption tool scores them.

    Raises DataError for what is no text.
    """
    one_text(caption, "the caption", DataError)
    text = html.unescape(caption.replace("&lt;", " < ").replace("&gt;", " > ")).translate(SPELT)
    tokens = (text[match.start() : match.end()].lower() for match in TOKEN.finditer(text.translate(KINDS)))
    parts = (part for token in tokens for part in (SIGNED.split(token) if RANGES.fullmatch(token) else (token,)))
    return [SMILEYS.sub(_bracket, part) for part in parts if part not in PUNCTUATION]


def _bracket(match: re.Match[str]) -> str:
    return BRACKETS[match[0]]
