"""Does `ptb_tokens` give the tokens of the Java tool that it stands in for?

    python benchmarks/ptb.py --jar stanford-corenlp-3.4.1.jar --save

draws 5,000 texts by seed, of the kinds that meet a tokenizer in the wild (times, scores, currencies, addresses,
scripts, emoji and so on), has the Java tool tokenise each on its own, and prints how many are equal and which are not.
`--save` keeps texts and tokens for the tests, which need no Java. The jar is that of the COCO caption tool
(pycocoevalcap).
"""

from __future__ import annotations

import argparse
import gzip
import random
import re
import subprocess
import tempfile
from pathlib import Path

from fastcap.evaluation.ptb import PUNCTUATION, ptb_tokens

GOLDEN = Path(__file__).parents[1] / "tests" / "evaluation" / "ptb_golden.tsv.gz"
WORDS = {
    "noun": "dog cat man woman child ball boat car bus street kitchen pizza train sign clock bear t-shirt skateboard",
    "adj": "brown small red two old white long-haired black-and-white wet happy",
    "verb": "runs sits stands jumps plays sleeps waits eats looks walks",
}
# Texts by kind; {3-9} is a number drawn from that range, {03-9} one of two digits, {noun} a word.
KINDS = {
    "times": r"""
        {0-23}:{00-59} ¦ {1-12}:{00-59}pm ¦ {1-12}:{00-59} p.m. ¦ {1-12}:{00-59} PM ¦ {1-12}pm ¦ {1-12} a.m.
        {0-23}:{00-59}:{00-59} ¦ {1-12}:{00-59}am ¦ {0-23}h{00-59} ¦ {0-23}.{00-59}
    """,
    "scores": r"""
        {0-9}-{0-9} ¦ {0-9}:{0-9} ¦ {0-9}–{0-9} ¦ {0-9} - {0-9} ¦ {0-99}-{0-99} ¦ {0-9}/{0-9} ¦ {0-9}-{0-9}-{0-9}
        {6-7}-{0-4}, {6-7}-{0-4}
    """,
    "numbers": r"""
        1 000 000 ¦ 1,000,000 ¦ 1.000.000 ¦ {1-9} {100-999} ¦ {1-99},{100-999} ¦ {0-99}.{0-9} ¦ .{1-9} ¦ {1-99}%
        {1-99} % ¦ {1-9}x{1-9} ¦ {10-99}cm ¦ {1-9}kg ¦ {1-9}th ¦ 1st ¦ 2nd ¦ 3rd ¦ 1990s ¦ '90s ¦ +{1-9} ¦ -{1-9}
        #{1-9} ¦ No. {1-99} ¦ no.{1-9} ¦ {1-9}° ¦ {1-30}°C ¦ {1-9}m² ¦ {1-9}x ¦ x{1-9} ¦ 3D ¦ 4x4 ¦ 24/7 ¦ 747 ¦ B-52
        F-16 ¦ 10k ¦ 5-year-old ¦ 2-story ¦ {1-9}' ¦ {1-9}" ¦ {1-9}'{1-9}" ¦ 007 ¦ 1,5 ¦ 12345678 ¦ {1-9},{10-99}
        {1-9} {100-999} ¦ four-wheeled ¦ twenty-one ¦ 1/2-mile ¦ ½ ¦ ¼ ¦ ¾ ¦ 1½ ¦ 2 ½ ¦ 1/2 ¦ 3/4 ¦ 1 1/2 ¦ ⅓ ¦ ² ¦ H₂O
        10² ¦ № 5 ¦ ({1-9}) ¦ {1-9}. ¦ {1-9})
    """,
    "dates": r"""
        12/12/2020 ¦ 2020-12-12 ¦ 12.12.2020 ¦ Dec. 12 ¦ Dec 12, 2020 ¦ 12-12-20 ¦ 1990-2000 ¦ 1990–2000 ¦ Jan. 1st
        Mon. to Fri. ¦ Sept. 2001 ¦ '99 ¦ 1/2/99 ¦ June 3
    """,
    "telephones and ranges": r"""
        ({200-999}) {100-999}-{1000-9999} ¦ ({200-999}){100-999}-{1000-9999} ¦ ({20-99}) {100-999} {1000-9999}
        +{1-9}-{200-999}-{200-999}-{1000-9999} ¦ +{20-99}-{20-99}-{1000-9999}-{1000-9999} ¦ {200-999}-{1000-9999}
        1-{200-999}-{200-999}-{1000-9999} ¦ {1-12}:{00-59}-{1-12}:{00-59} ¦ {1-12}-{1-12}:{00-59}
        {1-12}:{00-59}-{1-12} ¦ {1-12}/{1-28}/{10-99} ¦ {1-12}/{1-28}/{1990-2020}
    """,
    "abbreviations with hyphens": r"""
        U.S.-based ¦ a U.K.-led {noun} ¦ ex-U.S. ¦ non-U.S. {noun} ¦ anti-U.S. ¦ U.S.-U.K. {noun} ¦ d' ¦ l' {noun}
        a\*b ¦ and\/or ¦ \* ¦ P.M.-{noun} ¦ D.C.-area ¦ post-U.S.S.R.
    """,
    "dashes": r"""
        {noun}—{adj}—{verb} ¦ {noun} – {verb} ¦ {noun}--{verb} ¦ {noun} -- {verb} ¦ {noun}- {verb} ¦ {noun} -{verb}
        {noun} - {verb} ¦ {noun}-{noun} ¦ {noun}---{noun} ¦ {noun}–{noun} ¦ {noun}‐{noun} ¦ {noun}‑{noun}
        {noun}−{noun} ¦ {noun}―{noun} ¦ {noun}~{noun} ¦ - ¦ -- ¦ — ¦ – ¦ –{noun} ¦ {noun}—
    """,
    "currencies": r"""
        ${1-99} ¦ ${1-9}.{10-99} ¦ €{1-99} ¦ {1-99}€ ¦ £{1-9} ¦ {1-9} $ ¦ ¥{1-999} ¦ {1-9}¢ ¦ US${1-9} ¦ $ {1-9}
        ${1-9},{100-999} ¦ ₹10 ¦ $1m ¦ A$5 ¦ C$5 ¦ R$ 5 ¦ 5$ ¦ $$ ¦ ₽5 ¦ ¤ ¦ ₩100
    """,
    "addresses and tags": r"""
        joe@example.com ¦ www.example.com ¦ http://example.com ¦ https://example.com/a?b=c ¦ example.com
        example.org/dog ¦ #tag ¦ @user ¦ #two_words ¦ @user_name ¦ flickr.com. ¦ joe.smith@mail.example.co.uk ¦ a.b
        ftp://x.org ¦ #1 ¦ @ ¦ # ¦ site.de ¦ file.jpg ¦ IMG_1234.JPG ¦ C:\dir ¦ /usr/bin ¦ a/b/c ¦ and/or ¦ w/ ¦ w/o
        b/w ¦ him/her ¦ x@y ¦ #Tag! ¦ user@ ¦ http:// ¦ www.a ¦ dog.The
    """,
    "marks and markup": r"""
        **A dog** ¦ *dog* ¦ _dog_ ¦ `dog` ¦ ~~dog~~ ¦ [dog](cat) ¦ (dog) ¦ [dog] ¦ {dog} ¦ <b>dog</b> ¦ <dog>
        dog <br/> ¦ "dog" ¦ “dog” ¦ ‘dog’ ¦ «dog» ¦ „dog“ ¦ ''dog'' ¦ ``dog'' ¦ dog... ¦ dog… ¦ dog . . . ¦ dog!!
        dog?! ¦ dog!? ¦ dog,cat ¦ dog;cat ¦ dog:cat ¦ dog : cat ¦ dog.cat ¦ dog, ¦ dog. ¦ dog! ¦ dog? ¦ (dog ¦ dog)
        dog & cat ¦ dog&cat ¦ AT&T ¦ R&D ¦ M&Ms ¦ &amp; ¦ dog &amp; cat ¦ &lt;b&gt; ¦ &quot;dog&quot; ¦ &nbsp;
        dog + cat ¦ dog+cat ¦ dog = cat ¦ dog/cat ¦ dog / cat ¦ dog \ cat ¦ dog | cat ¦ dog_cat ¦ dog^cat ¦ dog % cat
        * dog ¦ • dog ¦ · dog ¦ dog™ ¦ dog® ¦ ©2020 ¦ © dog ¦ § 5 ¦ dog† ¦ → dog ¦ dog → cat ¦ × dog ¦ 3 × 4 ¦ ÷ ¦ ±5
        ≤ 5 ¦ ≠ ¦ ∞ ¦ dog¡ ¦ ¿dog? ¦ .... ¦ .. ¦ ?.. ¦ !. ¦ . ¦ , ¦ ; ¦ ' ¦ " ¦ -lrb- ¦ C++ ¦ C# ¦ F# ¦ a*b ¦ 5*5 ¦ ~5
        <3 ¦ :-) ¦ :) ¦ ;-) ¦ =) ¦ :D ¦ 8) ¦ ^_^ ¦ <- ¦ -> ¦ => ¦ >> ¦ << ¦ (c) ¦ (a) ¦ a) ¦ 1)
    """,
    "emoji and symbols": r"""
        😀 ¦ A dog 🐕 ¦ dog🐕 ¦ ❤️ ¦ ❤ ¦ 👍🏽 ¦ 🇫🇷 ¦ 👨‍👩‍👧 ¦ ☀ ¦ ⭐ ¦ 1️⃣ ¦ ✓ ¦ ♥ ¦ ☺️ ¦ 🐶🐱 ¦ 🐶 🐱 ¦ dog 🐶. ¦ ♀ ¦ ✈ ¦ ☎
    """,
    "apostrophes": r"""
        dog's ¦ dogs' ¦ don't ¦ DON'T ¦ can't ¦ cannot ¦ won't ¦ it's ¦ It’s ¦ I'm ¦ I’m ¦ we're ¦ they've ¦ she'll
        he'd ¦ y'all ¦ o'clock ¦ O'Brien ¦ rock 'n' roll ¦ rock n' roll ¦ 'em ¦ 'til ¦ 'tis ¦ 'twas ¦ ma'am ¦ gonna
        gotta ¦ wanna ¦ gimme ¦ lemme ¦ dunno ¦ d'oeuvre ¦ hors d'oeuvres ¦ l'eau ¦ jack-o'-lantern ¦ fo'c'sle ¦ goin'
        nothin' ¦ dog's' ¦ the dogs’ toy ¦ kid´s ¦ kid`s ¦ girl‘s ¦ ain't ¦ mustn't ¦ could've ¦ who's ¦ men's ¦ ol' dog
        '80s ¦ 80's ¦ 1990's ¦ A's ¦ ABC's ¦ t'ai ¦ D'Angelo ¦ s'mores ¦ 'dog' ¦ ' dog ' ¦ dog 's ¦ do n't ¦ cap'n
        e'er ¦ more'n ¦ whatcha ¦ 'cause ¦ y'know ¦ c'mon ¦ dog' ¦ 'dog ¦ it''s ¦ doesnt ¦ isn´t ¦ should’nt ¦ n't
    """,
    "abbreviations": r"""
        Mr. Smith ¦ Mrs. Smith ¦ Dr. Who ¦ St. Paul ¦ U.S. ¦ U.S. flag ¦ U.K. ¦ U.S.A. ¦ e.g. dogs ¦ i.e. a dog ¦ etc.
        etc. and ¦ vs. dog ¦ vs dog ¦ a.k.a. dog ¦ p.m. ¦ Ph.D. ¦ J. Smith ¦ J.R. Smith ¦ Inc. ¦ Co. sign ¦ Jr. dog
        Main St. ¦ 5th Ave. sign ¦ No. 7 ¦ no. 7 ¦ Nos. 1 ¦ ft. tall ¦ in. tall ¦ approx. 5 ¦ Mt. Fuji ¦ T.V. ¦ D.C.
        L.A. ¦ B.B.Q. ¦ a.m. dog ¦ Gov. Smith ¦ Sen. Smith ¦ Rev. Smith ¦ Prof. Smith ¦ Lt. Smith ¦ Fig. 1 ¦ fig. 1
        p. 5 ¦ pp. 5 ¦ vol. 2 ¦ dept. of ¦ Jan. dog ¦ est. 1990 ¦ min. walk ¦ max. speed ¦ oz. cup ¦ lb. bag ¦ mph.
        Capt. Hook ¦ Sgt. Pepper ¦ Bros. sign ¦ Ltd. ¦ Corp. ¦ ave. sign ¦ blvd. sign ¦ apt. 5 ¦ tel. 5 ¦ ca. 1900
        cf. dog ¦ al. dog ¦ et al. ¦ No. ¦ no. ¦ X. ¦ I. ¦ A. dog ¦ Q.E.D. ¦ N.Y. ¦ N.Y.C. street ¦ S.F. ¦ Mass. Ave.
        Calif. dog ¦ a. m.
    """,
    "hyphens and capitals": r"""
        iPhone ¦ MacBook ¦ YouTube ¦ McDonald's ¦ 7-Eleven ¦ Coca-Cola ¦ Toys"R"Us ¦ Yahoo! ¦ e-mail ¦ T-shirt ¦ X-ray
        vitamin-C ¦ UPS ¦ NASA's ¦ DVDs ¦ PCs ¦ A-frame ¦ V-neck ¦ U-turn ¦ co-op ¦ merry-go-round ¦ mother-in-law
        1-2-3 ¦ A/C ¦ c/o ¦ o/ ¦ 12-ounce ¦ 1st-class ¦ pre-1990 ¦ mid-air ¦ non- ¦ -like ¦ half- ¦ anti-war ¦ ex-
        self- ¦ e- ¦ semi- ¦ self-made man- ¦ dog- ¦ a- ¦ X- ¦ 2-
    """,
    "accents": r"""
        café ¦ café ¦ naïve ¦ naïve ¦ façade ¦ jalapeño ¦ jalapeño ¦ Zürich ¦ crème ¦ brûlée ¦ São ¦ Ångström ¦ piñata
        fiancée's ¦ Việt ¦ chó ¦ mèo ¦ Ω ¦ 5 µm
    """,
    "scripts": r"""
        एक कुत्ता है ¦ कुत्ता घास पर दौड़ता है। ¦ बच्चा लाल गेंद के साथ
        كلبٌ يركض على العشب ¦ رجل يحمل كرةً حمراء؟ ¦ طفلٌ صغير، ¦ כֶּלֶב רץ על הדשא
        ילד קטן ¦ 一只棕色的狗在草地上奔跑 ¦ 两个孩子在海边。
        一辆红色的公共汽车！ ¦ 猫和狗，狗 ¦ 犬が草の上を走っている ¦ ネコがいる。
        赤い車、犬 ¦ สุนัขวิ่งบนสนามหญ้า ¦ เด็กสองคน ¦ 갈색 개가 잔디 위를 달린다
        Собака бежит по траве. ¦ красный мяч ¦ Ένας σκύλος τρέχει ¦ হাতি ¦ குதிரை
        பூனை ஓடுகிறது ¦ పిల్లి ¦ ಬೆಕ್ಕು ¦ ကြောင်
    """,
}
SEPARATOR = "A dog"  # what stands in the next line decides how the Java tool reads a last "B."; most captions begin so


def drawn(template: str, rng: random.Random) -> str:
    """A template with its ranges and words filled in."""

    def fill(match: re.Match[str]) -> str:
        name = match[1]
        if name in WORDS:
            return rng.choice(WORDS[name].split())
        low, high = name.split("-")
        return f"{rng.randint(int(low), int(high)):0{2 if len(low) > 1 and low[0] == '0' else 1}}"

    return re.sub(r"\{(noun|adj|verb|\d+-\d+)\}", fill, template)


def texts(count: int, seed: int) -> list[str]:
    """`count` texts, of all kinds in turn, in sentences and out of them."""
    rng = random.Random(seed)
    kinds = [
        [text for line in block.strip().splitlines() for text in line.strip().split(" ¦ ")] for block in KINDS.values()
    ]
    result = []
    for index in range(count):
        parts = [drawn("{adj} {noun} {verb}", rng).capitalize()] if rng.random() < 0.75 else []
        parts.append(drawn(rng.choice(kinds[index % len(kinds)]), rng))
        if rng.random() < 0.5:
            parts.append(drawn("and {noun}", rng))
        if rng.random() < 0.25:
            parts.append(drawn(rng.choice(rng.choice(kinds)), rng))
        if rng.random() < 0.2:
            rng.shuffle(parts)
        result.append(" ".join(parts) + rng.choice(["", ".", ".", " .", "!"]))
    return result


def java_tokens(jar: Path, lines: list[str]) -> list[list[str]]:
    """The tokens that the COCO caption tool makes of each text, with its punctuation left out."""
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", suffix=".txt") as file:
        file.write("".join(f"{line}\n{SEPARATOR}\n" for line in lines))
        file.flush()
        tool = ["java", "-Dfile.encoding=UTF-8", "-cp", str(jar), "edu.stanford.nlp.process.PTBTokenizer"]
        done = subprocess.run([*tool, "-preserveLines", "-lowerCase", file.name], capture_output=True, check=True)
    rows = done.stdout.decode("utf-8").split("\n")[::2]
    return [[token for token in row.split() if token not in PUNCTUATION] for row in rows[: len(lines)]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jar", type=Path, required=True)
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save", action="store_true", help=f"write {GOLDEN.name} for the tests")
    args = parser.parse_args()
    lines = texts(args.count, args.seed)
    expected = java_tokens(args.jar, lines)
    wrong = [(line, tokens) for line, tokens in zip(lines, expected, strict=True) if ptb_tokens(line) != tokens]
    for line, tokens in wrong:
        print(f"{line}\n  Java: {' '.join(tokens)}\n  ours: {' '.join(ptb_tokens(line))}")
    print(f"{len(lines) - len(wrong)} of {len(lines)} texts have the Java tool's tokens")
    if args.save:
        rows = "".join(f"{line}\t{' '.join(tokens)}\n" for line, tokens in zip(lines, expected, strict=True))
        GOLDEN.write_bytes(gzip.compress(rows.encode("utf-8"), mtime=0))


if __name__ == "__main__":
    main()
