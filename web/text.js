// A decoded text to a sentence a reader can be shown, worded as alt text: what fastcap/runtime/text.py does.

import {
  ADJECTIVES, ANIMALS, AUXILIARIES, COLOURS, COMPOUNDS, CONJUNCTIONS, DETERMINERS, FUNCTION_WORDS, MASSES, NEVER_LAST,
  NEVER_NOUNS, NO_OBJECT, NUMBERS, PLAIN_PREPOSITIONS, PREPOSITIONS, THINGS, TRANSITIVES,
} from './english.js';

const LONGEST_REPEAT = 3; // words; longer immediate repeats hardly occur, and lists may repeat a phrase on purpose

// Alt text says what is seen, not that it is a picture: screen readers have already said "image".
const PREAMBLE = new RegExp(
  '^(?:this is |there is |it is )?(?:an?|the|this)?\\s*(?<![\\p{L}\\p{N}_])' +
    '(?:image|picture|photo|photograph|snapshot|pic)\\s+' +
    '(?:(?:taken )?of|showing|depicting|shows|depicts|is of|contains|features)\\s+(?=.*[\\p{L}\\p{N}])',
  'iu',
);
const WORD = /[\p{L}\p{N}]+(?:['’-][\p{L}\p{N}]+)*/gu;
// These end a sentence after some words alone: "cars drive by", "two men sitting down", "a crowd looks on"
const MAY_END = new Map([
  ['by', /^(?:pass|stand|go|walk|driv|fl[iy]|run|rid|float|sail|watch)[\p{L}\p{N}_]*$/u],
  [
    'down',
    new RegExp(
      '^(?:(?:sit|look|la[iy]|l[iy]|fall|bend|kneel|hang|dangl|slid|climb|bow|stoop|crouch|com[ei]|crash|tip|roll|turn|' +
        'pull|knock)[\\p{L}\\p{N}_]*|sat|set|bent|upside|back|one|heads?|face|hands?|and|it|them|go(?:es|ing)?)$',
      'u',
    ),
  ],
  [
    'over',
    new RegExp(
      '^(?:(?:look|bend|lean|hunch|flip|knock|turn|roll|fall|tip|toppl|tumbl|hang|pull)[\\p{L}\\p{N}_]*|' +
        'bent|all|and|it)$',
      'u',
    ),
  ],
  ['front', /^(?!in$)/u],
]);
const BEFORE_ON = /^(?:look[\p{L}\p{N}_]*|with|without|has|have|wear[\p{L}\p{N}_]*|nothing)$/u;
const PLURAL = /^(?:people|men|women|children|[\p{L}\p{N}_]*(?!s)[\p{L}\p{N}]s)$/u;
const PARTS = ['group', 'bunch', 'pair', 'couple', 'number', 'row']; // of something
const BEFORE_OFF = /^(?:tak|show|tee|dr[yi]|com|go|fall|fly|cut|head|light|set)[\p{L}\p{N}_]*$/u;
const ARTICLES = ['a', 'an'];
const BEFORE_NOUNS = ['in', 'of', 'at', 'with', 'from', 'for', 'into', 'to'];
const RELATIVES = ['who', 'that', 'which', 'whose', 'where'];
const TELLS_APART = [...RELATIVES, 'in', 'with']; // begins what is said of one of several things
const VERBS_OF_STATE = ['is', 'are', 'was', 'were'];
// What no noun begins with, so that an adjective before it lacks its own
const AFTER_NOUN = new Set([...PLAIN_PREPOSITIONS, ...VERBS_OF_STATE, 'has', 'have', 'a', 'an', 'the']);
const DRESSED = ['in', 'with', 'wearing', 'wears']; // after which a colour is whole: "dressed in red"
const SPACING = [
  [/\s+([,.;:!?%)\]}])/gu, '$1'],
  [/([([{$#])\s+/gu, '$1'],
  [/\s+(n't|'(?:s|re|ve|ll|d|m|t))(?![\p{L}\p{N}_])/giu, '$1'],
  [/(?<=[\p{L}\p{N}_]) - (?=[\p{L}\p{N}_])/gu, '-'],
  [/"\s*([^"]*?)\s*"/gu, '"$1"'],
];

/**
 * Repair raw decoder text: spacing, immediate repeats, picture preambles, first letter, full stop.
 *
 * Applying it twice changes nothing. Returns '' when the text holds no letter or digit.
 */
export function sentence(text) {
  text = text.replace(/[\p{C}\p{Z}]/gu, ' ');
  let before = null;
  while (text !== before) {
    // one repair may lay bare the next: "a dog , a dog"
    before = text;
    text = repaired(text);
  }
  const at = text.search(/[\p{L}\p{N}]/u);
  if (at < 0) return '';
  const [first] = text.slice(at);
  text = text.slice(0, at) + first.toUpperCase() + text.slice(at + first.length);
  text = text.replace(/[ ,;:\-.]+$/, '');
  return /[!?]$/.test(text) ? text : `${text}.`;
}

/**
 * Whether a sentence stops where a word is due: after an article, a preposition, a conjunction, an auxiliary, or an
 * adjective or number whose noun is missing ("A man in a red."). A single noun is whole in the plural alone.
 */
export function endsEarly(text) {
  const before = captionWords(text);
  if (!before.length) return true;
  const last = before.pop();
  const previous = before.at(-1) ?? '';
  const article = previous === 'a' || previous === 'an';
  if (NEVER_LAST.has(last)) return true;
  if (!before.length) return !PLURAL.test(last); // "Dogs" tells what is seen, "Dog" lacks its article
  if (MAY_END.has(last)) return !MAY_END.get(last).test(previous);
  if (last === 'on') return !before.some((word) => BEFORE_ON.test(word));
  if (last === 'her') return previous === 'in' || previous === 'on'; // as an object it may: "looks at her"
  if (ADJECTIVES.has(last)) {
    const modifies = (word) => ADJECTIVES.has(word) || COLOURS.has(word) || ['and', 'or', 'very'].includes(word);
    while (before.length && modifies(before.at(-1))) before.pop();
    if (!before.length || DETERMINERS.has(before.at(-1))) return true;
    const needsNoun = PREPOSITIONS.has(before.at(-1)) || TRANSITIVES.has(before.at(-1));
    return needsNoun && !(COLOURS.has(last) && DRESSED.includes(before.at(-1)));
  }
  if (COLOURS.has(last)) return article && before.at(-2) === 'in'; // also nouns: "holds an orange", but "in an orange"
  if (article && last.endsWith('ing') && !THINGS.has(last)) return true;
  if (last === 'standing' || last === 'sitting') {
    return before.length < 6 && !before.some((word) => AUXILIARIES.has(word)); // where? "A man is standing" is whole
  }
  return article && before.length === 1 && PARTS.includes(last);
}

/**
 * Whether a sentence stops after the first part of a compound ("A man holding a tennis.", "A man is rock.",
 * "Two soccer.", "A group of football."), or has a participle and nothing else for a verb ("A bus driving."). Stricter
 * than `endsEarly`: for captions among which others can be chosen.
 */
export function lacksNoun(text) {
  const words = captionWords(text);
  const [part, previous, last] = ['', '', '', ...words].slice(-3);
  if (previous === 'is' || previous === 'are') return last === 'rock' || (COMPOUNDS.has(last) && !last.endsWith('ing'));
  if (previous === 'of' && PARTS.includes(part)) return !(PLURAL.test(last) || MASSES.has(last));
  if (NUMBERS.has(previous)) return !PLURAL.test(last);
  if (last === 'off') return !BEFORE_OFF.test(previous);
  if (last.endsWith('ing') && !THINGS.has(last) && words.length <= 4) {
    return !words.some((word) => AUXILIARIES.has(word));
  }
  return ARTICLES.includes(previous) && COMPOUNDS.has(last);
}

/**
 * Whether words stand where no rule of grammar lets them: "A red is parked", "a sitting in", "in is", "is playing is
 * running", "Two man are", "in a white dog". For captions among which others can be chosen.
 */
export function isGarbled(text) {
  const words = [...captionWords(text), '', ''];
  const clauses = /[,;:]/.test(text) || words.some((word) => RELATIVES.includes(word));
  let state = false; // whether a verb of this clause was found
  for (const [place, word] of words.slice(0, -2).entries()) {
    const [before, after, then] = [place ? words[place - 1] : '', words[place + 1], words[place + 2]];
    if (CONJUNCTIONS.has(word)) {
      state = false;
    } else if (VERBS_OF_STATE.includes(word)) {
      const compound = after === 'rock' || (COMPOUNDS.has(after) && !after.endsWith('ing'));
      if (VERBS_OF_STATE.includes(after) || BEFORE_NOUNS.includes(before) || (state && !clauses)) return true;
      if (compound && then && !/(?:ing|s)$/.test(then)) return true; // "is rock wall"
      state = true;
    }
    if (NO_OBJECT.has(word) && ['a', 'an', 'the'].includes(after)) return true;
    if (['on', 'in', 'to', 'with'].includes(word) && after === 'of') return true;
    if (['with', 'to', 'of'].includes(word) && BEFORE_NOUNS.includes(after)) return true;
    if (NUMBERS.has(word) && (then === 'is' || then === 'are') && !mayBePlural(after)) return true;
    if (ARTICLES.includes(word) && lacksItsNoun(words, place)) return true;
  }
  return false;
}

/**
 * Whether a thing comes in a second time as if it were new: "riding a horse on a horse", "in a red shirt is wearing a
 * red shirt", "Two dogs are playing with a dog". What is said of another one tells them apart ("a black dog and a white
 * dog", "a boy and a boy in red"). For captions among which others can be chosen.
 */
export function namesTwice(text) {
  const words = captionWords(text);
  const known = new Map(); // the adjectives of each noun
  let [adjectives, article] = [[], false];
  for (const [place, word] of words.entries()) {
    const after = words[place + 1];
    const last = !after || FUNCTION_WORDS.has(after); // of a noun phrase
    if (ADJECTIVES.has(word) || (!last && COLOURS.has(word))) {
      adjectives.push(word);
    } else if (!FUNCTION_WORDS.has(word) && (last || !COMPOUNDS.has(word))) { // "a tennis racquet"
      const noun = word.replace(/s$/, '');
      const told = !last || TELLS_APART.includes(after);
      const had = known.get(noun);
      if (article && !told && had && adjectives.every((adjective) => had.includes(adjective))) return true;
      known.set(noun, [...(had ?? []), ...adjectives]);
      [adjectives, article] = [[], false];
    } else if (FUNCTION_WORDS.has(word) && word !== 'and') { // "a black and white dog"
      [adjectives, article] = [[], ARTICLES.includes(word)];
    }
  }
  return false;
}

function mayBePlural(word) {
  return PLURAL.test(word) || MASSES.has(word) || ADJECTIVES.has(word) || FUNCTION_WORDS.has(word);
}

/** Whether a noun is missing after "a", or is one that cannot be: "a the", "a red is", "a sitting in", "in a dog". */
function lacksItsNoun(words, article) {
  let at = article + 1;
  while (ADJECTIVES.has(words[at]) || (words[at] === 'and' && ADJECTIVES.has(words[at + 1]))) at += 1;
  const [bare, noun, after] = words.slice(at - 1);
  if (at > article + 1) {
    const adjective = NEVER_NOUNS.has(bare) || COLOURS.has(bare);
    const degree = bare === 'little' && at === article + 2 && article > 0;
    if (adjective && AFTER_NOUN.has(noun) && !degree) return true;
  } else if (AFTER_NOUN.has(noun) && noun !== 'like' && noun !== 'than') {
    return true;
  }
  if (noun.endsWith('ing') && !THINGS.has(noun)) return !after || PLAIN_PREPOSITIONS.has(after);
  if (ANIMALS.has(noun) && article && words[article - 1] === 'in') return !after || AFTER_NOUN.has(after);
  const one = ANIMALS.has(noun) || ['man', 'woman', 'boy', 'girl', 'child', 'person'].includes(noun);
  return one && after === 'are' && !words.slice(0, article).includes('and');
}

/** The words of a text in small letters, without punctuation: those of `caption_words` in fastcap/runtime/memory.py. */
export function captionWords(text) {
  return text.toLowerCase().match(WORD) ?? [];
}

/** Words as a reader counts them: runs of non-space that hold a letter or digit. */
export function wordCount(text) {
  return text.split(/\s+/u).filter((word) => /[\p{L}\p{N}_]/u.test(word)).length;
}

function repaired(text) {
  for (const [pattern, replacement] of SPACING) text = text.replace(pattern, replacement);
  return withoutRepeats(text.split(/\s+/u).filter(Boolean)).join(' ').replace(PREAMBLE, '');
}

/** Drop immediate repeats of one to three words: "a hat a hat" says no more than "a hat". */
function withoutRepeats(words) {
  const kept = [];
  for (const word of words) {
    kept.push(word);
    for (let n = 1; n <= LONGEST_REPEAT; n++) {
      if (kept.length >= 2 * n && key(kept.slice(-n)) === key(kept.slice(-2 * n, -n))) {
        kept.splice(-2 * n, n); // the later copy stays, with the punctuation that ends it
        break;
      }
    }
  }
  return kept;
}

function key(words) {
  return words.map((word) => word.toLowerCase().replace(/^[,.;:]+|[,.;:]+$/g, '') || word).join(' ');
}
