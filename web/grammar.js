// Sentences as words with what stands between them, and the few inflections that neutral wording needs: what
// fastcap/runtime/grammar.py does.

import * as english from './english.js';
import { CHARACTERS, GENDERED, NAMES, THINGS } from './gendered.js';

const LETTER = '[\\p{L}\\p{Nl}\\p{No}]';
/** What Python calls a space. */
const SPACE = '[\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]';
export const WORD = new RegExp(`([Mm][Aa]['’][Aa][Mm](?!${LETTER})|${LETTER}+)`, 'gu');
const PHRASES = new RegExp(`(?<!${LETTER})(?:${THINGS})(?!${LETTER})`, 'giu');
const SENTENCE_END = new RegExp(`[.!?…]['"”’)\\]]*${SPACE}|\\n`, 'u');
const ABBREVIATIONS = new Set('mr mrs ms mx dr st jr sr prof vs'.split(' '));
const CLITICS = ['s', 're', 've', 'll', 'd'];
const ONLY_SPACE = new RegExp(`^${SPACE}+$`, 'u');
const AROUND = new RegExp(`^${SPACE}+|${SPACE}+$`, 'gu');
const LEADING = new RegExp(`^${SPACE}+`, 'u');

export const isSpace = (text) => ONLY_SPACE.test(text);
export const strip = (text) => text.replace(AROUND, '');
export const stripLeading = (text) => text.replace(LEADING, '');
export const isUpper = (text) => text === text.toUpperCase() && text !== text.toLowerCase();
const startsUpper = (word) => isUpper([...word][0] ?? '');

/** Words, the gaps before each and after the last, and the places of the words that are gendered. */
export class Sentence {
  constructor(words, gaps) {
    this.words = words;
    this.gaps = gaps;
    this.lower = words.map((word) => word.toLowerCase());
    const longer = words.filter((word) => [...word].length > 3);
    this.isHeadline = longer.length > 2 && longer.every(startsUpper); // capitals tell of no name
    const isListed = (word) => GENDERED.has(word) || isGenderedCompound(word);
    this.gendered = [...words.keys()].filter((place) => isListed(this.lower[place]));
    if (this.gendered.length) {
      const things = this.#things();
      this.gendered = this.gendered.filter((place) => !things.has(place) && this.#isGendered(place));
    }
  }

  toString() {
    return this.gaps.map((gap, place) => gap + (this.words[place] ?? '')).join('');
  }

  /** The word before in lower case, if only space is between; else nothing. */
  before(place) {
    return place > 0 && isSpace(this.gaps[place]) ? this.lower[place - 1] : '';
  }

  /** The word after in lower case, if only space is between; else nothing. */
  after(place) {
    return place + 1 < this.words.length && isSpace(this.gaps[place + 1]) ? this.lower[place + 1] : '';
  }

  /** Whether an apostrophe, perhaps with a space before it, is all that stands before a word. */
  hasApostrophe(place) {
    return place > 0 && place < this.words.length && ["'", '’'].includes(stripLeading(this.gaps[place]));
  }

  /** What follows an apostrophe after a word: the s of "he's". */
  clitic(place) {
    const contracted = this.hasApostrophe(place + 1) && CLITICS.includes(this.lower[place + 1]);
    return contracted ? this.lower[place + 1] : '';
  }

  /** "s" after an apostrophe, or the mere apostrophe of a plural owner; else nothing. */
  ownerMark(place) {
    if (this.clitic(place) === 's') return 's';
    const opens = (gap, at) => /['‘]$/u.test(gap) && (at === 0 || gap.at(-2) === ' ') && !this.clitic(at - 1);
    const quoted = this.gaps.slice(0, place + 1).some(opens);
    const gap = stripLeading(this.gaps[place + 1]);
    const owned = place + 1 < this.words.length && /^['’]/u.test(gap) && isSpace(gap.slice(1)) && !quoted;
    return owned ? "'" : '';
  }

  /** Whether a word is capitalised where usual spelling would not. */
  isName(place) {
    const word = this.words[place];
    return place > 0 && startsUpper(word) && !this.isHeadline && !(isUpper(word) && [...word].length > 1);
  }

  /** Places of words in phrases that are about nobody. */
  #things() {
    const spans = [...`${this}`.matchAll(PHRASES)].map(({ index, 0: phrase }) => [index, index + phrase.length]);
    const things = new Set();
    let end = 0;
    for (const [place, word] of this.words.entries()) {
      end += this.gaps[place].length + word.length;
      if (spans.some(([start, stop]) => start < end && end <= stop)) things.add(place);
    }
    return things;
  }

  /** Whether a word of the list is meant as such where it stands. */
  #isGendered(place) {
    const [word, lower, before, after] = [this.words[place], this.lower[place], this.before(place), this.after(place)];
    if (NAMES.has(lower) && this.isName(place) && before && startsUpper(this.words[place - 1])) {
      return GENDERED.has(before) || english.ADJECTIVES.has(before) || english.FUNCTION_WORDS.has(before);
    }
    if (lower === 'earl') return after === 'of' || !this.isName(place);
    if (lower === 'miss') {
      return startsUpper(word) && Boolean(after) && startsUpper(this.words[place + 1]) && !this.isHeadline;
    }
    if (lower === 'ms') return word === 'Ms';
    if (lower === 'gal') return !/\p{Nd}$/u.test(strip(this.gaps[place]));
    if (lower === 'mummy' || lower === 'mummies') return english.POSSESSIVES.has(before) || before === 's';
    if (lower === 'son' || lower === 'sons') return !this.gaps[place].includes('&');
    if (['mans', 'groom', 'grooms'].includes(lower)) {
      // "grooms a horse"
      const noun = english.DETERMINERS.has(before) || english.ADJECTIVES.has(before) || ['of', 'and'].includes(before);
      const object = english.DETERMINERS.has(after) || english.PRONOUNS.has(after) || ['dogs', 'horses'].includes(after);
      return noun || !object;
    }
    if (lower === 'man') {
      return !(['to', 'who', 'they', 'can', 'will'].includes(before) && english.DETERMINERS.has(after));
    }
    return true;
  }
}

/** The sentences of a text; joined as they are, they are the text. */
export function sentences(text) {
  const parts = text.split(WORD);
  const words = parts.filter((_, at) => at % 2);
  const gaps = parts.filter((_, at) => at % 2 === 0);
  const starts = [0];
  for (let place = 1; place < words.length; place++) {
    const ends = SENTENCE_END.test(gaps[place]) && !ABBREVIATIONS.has(words[place - 1].toLowerCase());
    if (ends) starts.push(place);
  }
  return starts.map((start, at) => {
    const end = starts[at + 1] ?? words.length;
    return new Sentence(words.slice(start, end), [...gaps.slice(start, end), end === words.length ? gaps[end] : '']);
  });
}

/** The gendered words of a text, in order, as they are written there. */
export function genderedWords(text) {
  return sentences(text).flatMap((sentence) => sentence.gendered.map((place) => sentence.words[place]));
}

/** Whether a word that is not in the list is a compound of woman, as any that ends in it; but for characters. */
export function isGenderedCompound(word) {
  return /wom[ae]n$/.test(word) && !GENDERED.has(word) && !CHARACTERS.has(word);
}

/** The plural of a noun or of a phrase that ends in one. */
export function plural(word) {
  for (const [one, many] of Object.entries({ person: 'people', child: 'children', man: 'men' })) {
    if (word.endsWith(one) && !word.endsWith('human')) return word.slice(0, -one.length) + many;
  }
  if (/(?:s|x|ch|sh|hero)$/.test(word) && !word.endsWith('arch')) return `${word}es`;
  return /[^aeiou]y$/.test(word) ? `${word.slice(0, -1)}ies` : `${word}s`;
}

/** The plural of a verb's third person, "run" of "runs"; null if the word does not look like one. */
export function baseForm(word) {
  const listed = english.PLURAL_AUXILIARIES.get(word) ?? english.IRREGULAR_VERBS.get(word);
  if (listed) return listed;
  if ([...word].length < 4 || /(?:ss|us|is)$/.test(word) || !word.endsWith('s') || english.NOT_VERBS.has(word)) return null;
  if (word.endsWith('ies')) return `${word.slice(0, -3)}y`;
  return /(?:sses|shes|ches|xes|zzes|oes)$/.test(word) ? word.slice(0, -2) : word.slice(0, -1);
}

/** The possessive of a noun. */
export function owner(noun) {
  return noun + (noun.endsWith('s') ? "'" : "'s");
}

/** Whether "an" stands before a word rather than "a". */
export function soundsAsVowel(word) {
  return /^(?:hour|honest|honor|honour|heir)/.test(word) || (/^[aeiou]/.test(word) && !/^(?:uni|us|eu|one|once|ute|uku)/.test(word));
}

export function capitalised(word) {
  const [first = ''] = word;
  return first.toUpperCase() + word.slice(first.length);
}

/** A word in the case of another: capitals, a capital first letter, or as it is. */
export function inCaseOf(model, word) {
  if ([...model].length > 1 && isUpper(model)) return word.toUpperCase();
  return startsUpper(model) ? capitalised(word) : word;
}
