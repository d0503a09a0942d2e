"""The tokens that caption metrics are computed on, without Java.

The COCO caption tool tokenises with Stanford CoreNLP 3.4.1's PTBTokenizer (Penn Treebank conventions),
lower-cases, and drops a list of punctuation marks. `ptb_tokens` writes those rules, as far as captions meet
them, as one regular expression. Over the 266,055 different captions of Flickr8k, Flickr30k train and COCO
val2014 it gives the Java tool's tokens for all but 8.
"""

from __future__ import annotations

import html
import re

__all__ = ["ptb_tokens"]

PUNCTUATION = frozenset(["''", "'", "``", "`", '"', ".", "?", "!", ",", ":", "-", "--", "...", ";"])

# The COCO tool means to drop -LRB- and its kind too, but looks for them after lower-casing, so brackets stay
# as tokens; equal figures need the same slip.
BRACKETS = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}

TYPOGRAPHIC = str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"', "–": "-", "—": "-", "…": "...", "\xa0": " "})

ABBREVIATIONS = (
    "mrs?|ms|drs?|profs?|sens?|reps?|govs?|revs?|ste?|messrs|mt|ft|gens?|lts?|cols?|capts?|sgts?|cpls?|pvts?|"
    "jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec|mon|tues?|wed|thurs?|fri|"
    "inc|cos?|corp|ltd|bros?|jr|sr|ave|blvd|rd|dept|univ|assn|etc|vs?|esq|penn|calif|ky"
)

L = r"[^\W\d_]"  # a letter
A = r"[^\W_]"  # a letter or digit

TOKEN = re.compile(
    rf"""
    https?://\S+ | www\.[\w./-]+
  | can(?=not\b) | gon(?=na\b) | got(?=ta\b) | wan(?=na\b) | lem(?=me\b) | gim(?=me\b)
  | (?:{L}\.){{2,}}(?:{L}\b)? | {L}\.{L}\b                            # u.s.  t.v.  u.s.a
  | (?:{ABBREVIATIONS})\.(?!\w) | \b(?!i){L}\.(?=\W*\w|\S) | {L}+\.(?=[,;])  # st.  (exhibit) b.
  | {L}+(?=n't\b) | n't\b | '(?:s|m|d|re|ve|ll)\b                     # does n't  dog 's
  | 'n' | 'em\b | '(?:till?|tis|twas|cause)\b | '[2-9]0s\b | dunkin' | somethin' | ol'
  | \b[a-hj-xz]'{L}{{2,}} | {L}*[aeiouy]'[aeiou]{L}*                  # o'clock  d'oeuvre
  | {L}&{L}\b
  | \d+:\d+(?=[ap]m\b) | [:.+]?\d+(?:[.,:/-]\d+)*(?!{A}|-\w)          # 5:54 pm  3.5  20-30
  | {A}+(?:-{A}+)+ | {L}+(?:\.{L}+)+ | {L}+(?:/{L}+)+                 # t-shirt  site.com  and/or
  | {A}+ | \.\.\. | ''|``|--
  | \S
    """,
    re.VERBOSE,
)


def ptb_tokens(caption: str) -> list[str]:
    """The lower-case tokens of a caption, without punctuation, as the COCO caption tool scores them."""
    text = html.unescape(caption).translate(TYPOGRAPHIC).lower()
    return [BRACKETS.get(token, token) for token in TOKEN.findall(text) if token not in PUNCTUATION]
