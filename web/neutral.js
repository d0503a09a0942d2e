// Captions that say "person" where a picture cannot tell who somebody is: what fastcap/runtime/neutral.py does.

import { GENDERED } from './gendered.js';

const AFTER_THEY = { is: 'are', was: 'were', has: 'have', does: 'do' };

/** The gendered words of a text, in order, as they are written there. */
export function genderedWords(text) {
  return (text.match(/\p{L}+/gu) ?? []).filter((word) => Object.hasOwn(GENDERED, word.toLowerCase()));
}

/** The text with every gendered word replaced, in its case, and the articles and verbs beside it made to fit. */
export function neutralise(text) {
  const parts = text.split(/(\p{L}+)/u); // words stand at the odd places
  for (let place = 1; place < parts.length; place += 2) {
    const word = parts[place];
    const lower = word.toLowerCase();
    if (!Object.hasOwn(GENDERED, lower)) continue;
    let neutral = GENDERED[lower];
    const followed = place + 2 < parts.length && /^\s+$/u.test(parts[place + 1]);
    const following = followed ? parts[place + 2].toLowerCase() : '';
    const kept = following === 'and' || following === 'or' || Object.hasOwn(GENDERED, following);
    if ((lower === 'male' || lower === 'female') && followed && !kept) {
      parts[place] = parts[place + 1] = ''; // before another word it is left out
      if (isUpper(word[0])) parts[place + 2] = capitalised(parts[place + 2]);
      neutral = following;
    } else {
      if (lower === 'her' && !followed) neutral = 'them';
      parts[place] = inCaseOf(word, neutral);
      if (neutral === 'they' && Object.hasOwn(AFTER_THEY, following)) parts[place + 2] = AFTER_THEY[following];
    }
    const before = place - 2;
    if (before > 0 && ['a', 'an'].includes(parts[before].toLowerCase()) && /^\s+$/u.test(parts[before + 1])) {
      parts[before] = inCaseOf(parts[before], 'aeiou'.includes(neutral[0]) ? 'an' : 'a');
    }
  }
  return parts.join('');
}

function isUpper(text) {
  return text === text.toUpperCase() && text !== text.toLowerCase();
}

function capitalised(word) {
  return word.charAt(0).toUpperCase() + word.slice(1).toLowerCase();
}

function inCaseOf(model, word) {
  if (model.length > 1 && isUpper(model)) return word.toUpperCase();
  return isUpper(model[0]) ? capitalised(word) : word;
}
