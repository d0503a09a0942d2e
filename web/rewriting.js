// How one sentence is made neutral: nouns, pronouns with the verbs that agree with them, possessives, articles. What
// fastcap/runtime/rewriting.py does.

import * as english from './english.js';
import {
  AGES,
  FORMS_OF_ADDRESS,
  GENDERED,
  GENDERED_ADJECTIVES,
  PAIRS,
  PEOPLE,
  PEOPLE_OR_VERBS,
  PLAIN,
  PLURALS,
  SPLIT,
  TITLES,
} from './gendered.js';
import {
  WORD,
  baseForm,
  capitalised,
  genderedWords,
  inCaseOf,
  isGenderedCompound,
  isSpace,
  isUpper,
  owner,
  plural,
  soundsAsVowel,
  strip,
  stripLeading,
} from './grammar.js';

// "A dog looks at her" is about somebody else.
const OF_ANIMALS = new Map(
  Object.entries({ he: 'it', she: 'it', his: 'its', her: 'its', himself: 'itself', herself: 'itself' }),
);
const PEOPLE_PLURAL = new Set([...PEOPLE].map(plural));
// "They, they and I", "the children's and children's shoes", "a newlywed kisses their newlywed"
const SAID_TWICE =
  /(?<![a-z])(?:(they|them)(?:,| and| or) \1|([a-z]+'s?) (?:and|or) \2|([a-z]+) [^\n]*their \3)(?![a-z])/i;
const TWO = new Map(Object.entries({ a: 'two', an: 'two', one: 'two', this: 'these two', that: 'those two' }));
const PRONOUNS = ['they', 'them', 'their', 'theirs', 'themselves', 'mx'];
const count = (word) => Number(english.COUNTS.get(word) ?? 0);
const among = (word, ...sets) => sets.some((set) => set.has(word));

/** No rule is certain to get a sentence right. */
export class UncertainError extends Error {}

/** One sentence while it is rewritten. What is left out becomes empty. */
export class Rewriting {
  constructor(sentence, always) {
    this.sentence = sentence;
    this.always = always;
    this.words = [...sentence.words];
    this.gaps = [...sentence.gaps];
    this.lower = sentence.lower;
    this.done = new Set(); // places of gendered words that need nothing more
  }

  /** The sentence in neutral wording. Throws UncertainError. */
  text() {
    this.#joinPairs();
    for (const place of this.sentence.gendered) if (!this.done.has(place)) this.#reword(place);
    this.#joinEquals();
    this.#fitArticles();
    this.#capitalise();
    const text = this.#joined();
    if (SAID_TWICE.test(text)) this.#doubt();
    if (!genderedWords(text).length) return text;
    this.#doubt();
    return text.replace(WORD, (word) => inCaseOf(word, neutralOf(word.toLowerCase()) ?? word));
  }

  // What all rules use

  #before(place) {
    return this.sentence.before(place);
  }

  #after(place) {
    return this.sentence.after(place);
  }

  #isGendered(place) {
    return this.sentence.gendered.includes(place);
  }

  #doubt() {
    if (!this.always) throw new UncertainError();
  }

  #put(place, neutral) {
    this.words[place] = inCaseOf(this.sentence.words[place], neutral);
  }

  #leaveOut(start, stop) {
    for (let place = start; place < stop; place++) {
      this.words[place] = '';
      this.done.add(place);
    }
  }

  /** The words that are left; of the gaps around one that is left out, punctuation stays, else one space. */
  #joined() {
    let text = this.gaps[0];
    let last = -1;
    for (const [place, word] of this.words.entries()) {
      if (!word) continue;
      text += (last >= 0 ? gapOf(this.gaps.slice(last + 1, place + 1), ' ') : '') + word;
      last = place;
    }
    return text + gapOf(this.gaps.slice(last + 1), this.gaps.at(-1));
  }

  /** Make "a" and "an" fit what was changed after them. */
  #fitArticles() {
    for (const [place, word] of this.words.entries()) {
      if (!['a', 'an'].includes(word.toLowerCase()) || place + 1 >= this.words.length) continue;
      if (!isSpace(this.gaps[place + 1])) continue;
      const found = this.words.findIndex((each, at) => at > place && each);
      const following = found < 0 ? place : found;
      if (following > place + 1 || this.words[following] !== this.sentence.words[following]) {
        this.#put(place, soundsAsVowel(this.words[following].toLowerCase()) ? 'an' : 'a');
      }
    }
  }

  #capitalise() {
    const first = Math.max(0, this.words.findIndex(Boolean));
    if (isUpper([...this.sentence.words[0]][0])) this.words[first] = capitalised(this.words[first]);
  }

  // Two people side by side

  /** Leave out the first of "he or she", "his/her", "male and female" before a noun. */
  #joinPairs() {
    for (const place of this.sentence.gendered) {
      const other = this.#paired(place);
      if (other === null) continue;
      const pair = [this.lower[place], this.lower[other]];
      const within = (...words) => pair.every((word) => words.includes(word));
      if (this.#after(place) === 'nor') {
        this.#doubt(); // "neither he nor she"
      } else if (within('he', 'she') || within('himself', 'herself')) {
        this.#leaveOut(place, other);
      } else if (within('male', 'female')) {
        if (this.#standsBeforeNoun(other)) this.#leaveOut(place, other);
      } else if ((within('him', 'her') && pair[0] !== pair[1]) || within('his', 'her', 'hers')) {
        this.#leaveOut(place, other);
        const owned = this.#hasNoun(other) ? 'their' : 'theirs';
        this.#put(other, pair.includes('him') ? 'them' : owned);
        this.done.add(other);
      }
    }
  }

  /** The place of a second gendered word after "and", "or", "nor" or a slash. */
  #paired(place) {
    const slash = strip(this.gaps[place + 1]) === '/';
    const other = slash ? place + 1 : place + 2;
    const joined = slash || (['and', 'or', 'nor'].includes(this.#after(place)) && this.#after(place + 1));
    return joined && this.#isGendered(other) ? other : null;
  }

  /** Count: "a man and a woman" are two people, "two men and a woman" three, "men and women" people. */
  #joinEquals() {
    for (const place of this.sentence.gendered) {
      const other = this.#equal(place);
      if (other === null) continue;
      let start = place;
      while (english.ADJECTIVES.has(this.#before(start))) start -= 1;
      const first = this.#before(start);
      const second = other > place + 2 ? this.lower[other - 1] : '';
      const [one, two] = [count(first), count(second)];
      const several = this.#isPlural(place);
      const together = several === this.#isPlural(other);
      const many = plural(singularOf(this.lower[place]));
      const listed = ['both', 'either', 'neither'];
      if (this.gaps[start - (first ? 1 : 0)].includes(',')) continue; // perhaps a longer list
      if (listed.includes(first) || listed.includes(this.#before(start - 1))) continue;
      if (this.lower[place + 1] === 'or' || ['every', 'each', 'any', 'no'].includes(first)) {
        if (!together) continue;
      } else if (one && two) {
        if (start !== place || one + two > 12) continue;
        this.#put(start - 1, [...english.COUNTS.keys()].find((word) => count(word) === one + two));
        this.#put(place, many);
      } else if (!together || (second && !(first === 'the' && second === 'the' && start === place))) {
        continue;
      } else if (!several) {
        if (TWO.has(first)) {
          this.#put(start - 1, TWO.get(first));
          this.#put(place, many);
        } else if (english.POSSESSIVES.has(first)) {
          this.#put(place, many);
        } else if (english.DETERMINERS.has(first) && first !== 'the') {
          continue;
        } else {
          this.#put(place, many);
          this.#put(start, `two ${start === place ? many : this.lower[start]}`);
        }
      }
      this.#leaveOut(place + 1, other + 1);
    }
  }

  /** The place of the second of two words that were put as the same noun, as in "a man and (a) woman". */
  #equal(place) {
    if (!['and', 'or'].includes(this.#after(place))) return null;
    const counted = english.COUNTS.has(this.#after(place + 1)) || this.#after(place + 1) === 'the';
    const other = counted ? place + 3 : place + 2;
    if (!this.#isGendered(other) || !isSpace(this.gaps[other])) return null;
    const [one, two] = [place, other].map((at) => neutralOf(this.lower[at]) ?? '');
    const asItIs = [one, two].every((word, at) => this.words[at ? other : place].toLowerCase() === word.toLowerCase());
    const same = singularOf(this.lower[place]) === singularOf(this.lower[other]);
    const noun = !PRONOUNS.includes(one) && !PRONOUNS.includes(two);
    return asItIs && same && noun && !this.sentence.ownerMark(other) ? other : null;
  }

  #isPlural(place) {
    return PLURALS.has(this.lower[place]) || this.lower[place].endsWith('women');
  }

  // One word

  #reword(place) {
    const lower = this.lower[place];
    if (OF_ANIMALS.has(lower) && this.#isOfAnimal(place)) this.#put(place, OF_ANIMALS.get(lower));
    else if (lower === 'he' || lower === 'she') this.#subject(place);
    else if (lower === 'his') this.#put(place, this.#hasNoun(place) ? 'their' : 'theirs');
    else if (lower === 'her') this.#put(place, this.#owns(place) ? 'their' : 'them');
    else if (GENDERED_ADJECTIVES.has(lower)) this.#adjective(place);
    else this.#noun(place);
  }

  /** Whether a pronoun can only be an animal's: one stands before it and nobody else, "a dog wags his tail". */
  #isOfAnimal(place) {
    const lower = this.lower[place];
    if ((lower === 'his' && !this.#hasNoun(place)) || (lower === 'her' && !this.#owns(place))) return false;
    const before = this.sentence.words.slice(0, place).map((word) => word.toLowerCase());
    const isSomebody = (word) =>
      PEOPLE_PLURAL.has(word) ||
      word === 'owner' ||
      word === 'who' ||
      PEOPLE.has(singularOf(word)) ||
      (!OF_ANIMALS.has(word) && neutralOf(word) !== null);
    return !before.some(isSomebody) && before.some((word) => english.ANIMALS.has(word));
  }

  /** Whether a possessive stands before a noun: "his dog", not "his is red" or "a friend of his". */
  #hasNoun(place) {
    const after = this.#after(place);
    if (this.#isCounted(place) || (after && this.#isHyphenated(place + 1))) return true; // "his 3 dogs"
    return Boolean(after) && !among(after, english.CONJUNCTIONS, english.AUXILIARIES, english.PLAIN_PREPOSITIONS);
  }

  /** Whether "her" is a possessive, "her hat", and no object, "hugs her". */
  #owns(place) {
    const [before, after, then] = [this.#before(place), this.#after(place), this.#after(place + 1)];
    const ends = !then || english.FUNCTION_WORDS.has(then);
    if (this.#isCounted(place) || (after && this.#isHyphenated(place + 1))) return true; // "her pink-lensed glasses"
    if (!after || english.AFTER_OBJECT.has(after)) return english.CLOTHES.has(then); // "her down jacket"
    if (['back', 'home', 'left', 'right'].includes(after)) {
      return !['to', 'into', 'from'].includes(then) || english.PREPOSITIONS.has(before);
    }
    if (after.endsWith('ing') && !english.THINGS.has(after)) return !ends && !english.BARE_OBJECTS.has(after);
    if (isParticiple(after)) return !ends;
    if (after.endsWith('ly') || (english.ADJECTIVES.has(after) && ends && then !== 'and' && then !== 'or')) return false;
    if (english.VERBS.has(baseForm(after)) && english.PREPOSITIONS.has(before)) return false; // "the boy behind her sits"
    const verb = english.VERBS.has(after) || english.DETERMINERS.has(then);
    return !(verb && english.CAUSATIVES.has(before)); // "makes her smile"
  }

  /** Leave "male" and the like out before a noun; where it is one, it is somebody. */
  #adjective(place) {
    const before = this.#before(place);
    const lower = this.lower[place];
    const plain = lower === 'male' || lower === 'female';
    if (this.#standsBeforeNoun(place)) {
      const all = place > 0 && this.lower[place - 1] === 'all' && ['', '-'].includes(strip(this.gaps[place]));
      if (all && (before !== 'all' || !this.#after(place).endsWith('s'))) {
        this.#leaveOut(place - 1, place); // "an all-male choir"
      }
      this.#leaveOut(place, place + 1);
    } else if (!plain || english.BEFORE_ADJECTIVE.has(before)) {
      this.#doubt(); // "looks feminine"
      const some = before === 'are' || before === 'were' ? 'people' : 'a person';
      this.#put(place, plain ? some : GENDERED.get(lower));
    } else {
      this.#noun(place);
    }
  }

  /** Whether "male" is an adjective here: "a male nurse", "male hikers", but not "a male in a hat". */
  #standsBeforeNoun(place) {
    const [after, then] = [this.#after(place), this.#after(place + 1)];
    const ends = !then || english.FUNCTION_WORDS.has(then);
    if (this.gaps[place + 1] === '-') this.#doubt();
    const functional = english.FUNCTION_WORDS.has(after) && !english.NUMBERS.has(after);
    if (!after || (functional && !this.#isHyphenated(place + 1))) return false;
    if (after.endsWith('ing') && !english.THINGS.has(after)) {
      return among(then, PEOPLE, PEOPLE_PLURAL, english.GROUPS); // "a male swimming coach"
    }
    if (isParticiple(after)) return !ends;
    if (english.VERBS.has(after) && !PEOPLE.has(after)) {
      if (english.VERBS.has(baseForm(then)) && !PEOPLE_PLURAL.has(then)) {
        this.#doubt(); // "a female blow dries her hair"
        return false;
      }
      return !ends && !then.endsWith('ing'); // "two males and a female stand smiling"
    }
    if (english.VERBS.has(baseForm(after)) && !PEOPLE_PLURAL.has(after)) {
      const hasObject = among(then, english.DETERMINERS, english.PRONOUNS, english.DIRECTIONS);
      if (english.VERBS_OR_NOUNS.has(after) && !hasObject && !this.#followsArticle(place)) {
        this.#doubt(); // "male models", "the male rides"
      }
      return false;
    }
    return true;
  }

  #isCounted(place) {
    const gap = this.gaps[place + 1];
    return gap !== stripLeading(gap) && /^\p{Nd}/u.test(stripLeading(gap));
  }

  #isHyphenated(place) {
    return place + 1 < this.words.length && this.gaps[place + 1] === '-';
  }

  #noun(place) {
    const lower = this.lower[place];
    const before = this.#before(place);
    const several = this.#isPlural(place);
    let neutral = neutralOf(lower) ?? lower;
    let put = place;
    const split = place > 0 && (this.gaps[place] === '-' || SPLIT.has(before));
    const joined = split ? this.lower[place - 1] + lower : '';
    if (this.#isTitle(place) || (PLAIN.has(lower) && this.#isAttribute(place))) {
      this.#leaveOut(place, place + 1);
      return;
    }
    if (FORMS_OF_ADDRESS.has(lower)) this.#doubt(); // "Yes, sir"
    const special = PAIRS.get(`${before} ${lower.replace(/s$/, '')}`);
    if (special) {
      neutral = several ? plural(special) : special;
    } else if (/^(?:maid|matron)s?$/.test(lower) && this.#after(place) === 'of') {
      neutral = several ? 'attendants' : 'attendant'; // of honour
    } else if (AGES.has(before) && PLAIN.has(lower)) {
      neutral = several ? plural(AGES.get(before)) : AGES.get(before);
      put = place - 1;
    } else if (GENDERED.has(joined)) {
      neutral = GENDERED.get(joined);
      put = place - 1;
    } else if (several && this.#followsArticle(place) && !this.sentence.ownerMark(place) && !neutral.includes("'")) {
      const owners = before === 'a' || before === 'an' ? neutral : singularOf(lower);
      const nounFollows = this.#isBeforeNoun(place, false);
      neutral = nounFollows ? owner(owners) : singularOf(lower); // "a girls team", "a men in hats"
    } else if (!several && english.NUMBERS.has(before)) {
      neutral = plural(neutral); // "two woman"
    } else if (several && PLAIN.has(lower) && this.#isBeforeNoun(place) && this.#namesGroup(place)) {
      neutral = owner(neutral); // "girls soccer team"
    }
    this.#put(put, neutral);
    if (put < place) this.#leaveOut(place, place + 1);
    this.#fitPossessive(put, place, neutral);
  }

  /** "policemen's" to "officers'", "girls'" to "children's". */
  #fitPossessive(put, place, neutral) {
    const mark = this.sentence.ownerMark(place);
    const following = place + 1;
    if (mark === 's' && this.#isPlural(place) && neutral.endsWith('s')) {
      this.words[following] = '';
      this.gaps[following + 1] = stripLeading(this.gaps[following]) + this.gaps[following + 1];
      this.gaps[following] = '';
    } else if (mark === "'" && !neutral.endsWith('s')) {
      const gap = stripLeading(this.gaps[following]);
      this.words[put] += `${gap[0]}s`;
      this.gaps[following] = gap.slice(1);
    }
  }

  #followsArticle(place) {
    const isArticle = (word) => word === 'a' || word === 'an';
    const before = this.#before(place);
    return isArticle(before) || (english.ADJECTIVES.has(before) && isArticle(this.#before(place - 1)));
  }

  /** Whether the word after is neither a function word nor a verb; `baseVerbs`: nor one as "girls play" has. */
  #isBeforeNoun(place, baseVerbs = true) {
    const after = this.#after(place);
    const inflected = after.endsWith('ing') || english.VERBS.has(baseForm(after)) || isParticiple(after);
    const verb = inflected || (baseVerbs && english.VERBS.has(after));
    return Boolean(after) && !verb && !english.FUNCTION_WORDS.has(after);
  }

  /** Whether a name follows a title: "Queen Elizabeth". */
  #isTitle(place) {
    const after = this.#after(place);
    if (!TITLES.has(this.lower[place]) || !isUpper([...this.sentence.words[place]][0]) || !after) return false;
    const known = among(after, english.FUNCTION_WORDS, english.ADJECTIVES, PEOPLE) || neutralOf(after) !== null;
    return isUpper([...this.sentence.words[place + 1]][0]) && !known && this.#isBeforeNoun(place);
  }

  /** Whether a word only says what people are: "a woman doctor", "boy scouts", but not "a woman guards it". */
  #isAttribute(place) {
    const joined = place + 1 < this.words.length && [' ', '-'].includes(this.gaps[place + 1]);
    const [after, then] = [joined ? this.lower[place + 1] : '', this.#after(place + 1)];
    if (PEOPLE.has(after)) {
      const perceived = this.lower.slice(0, place).some((word) => english.CAUSATIVES.has(word)); // "watches the boy cook"
      return !this.#isPlural(place) && !(PEOPLE_OR_VERBS.has(after) && perceived);
    }
    if (PEOPLE_PLURAL.has(after)) return this.#isPlural(place) || !PEOPLE_OR_VERBS.has(baseForm(after));
    if (among(then, PEOPLE, PEOPLE_PLURAL)) return this.#isBeforeNoun(place); // "a woman tennis player"
    return this.lower[place] === 'man' && ['bun', 'buns', 'purse', 'bag', 'cave'].includes(after);
  }

  #namesGroup(place) {
    return [place, place + 1].some((at) => english.GROUPS.has(this.#after(at).replace(/s$/, '')));
  }

  // Subjects and the verbs that agree with them

  /** Reword "he" and "she". */
  #subject(place) {
    const gap = this.gaps[place];
    const half = gap === '/' && this.lower[place - 1] === 's'; // "s/he"
    if (this.gaps[place + 1].startsWith('-') || /[-)]$/.test(gap) || half) this.#doubt();
    this.#put(place, 'they');
    if (this.#isInverted(place)) return;
    let at = place + 1;
    const clitic = this.sentence.clitic(place);
    if (clitic) {
      if (clitic === 's') {
        const verb = this.#isPerfect(at) ? 've' : 're';
        this.words[at] = this.words[place] === 'THEY' ? verb.toUpperCase() : verb;
      }
      this.#fitCoordinated(at + 1);
      return;
    }
    while (this.#continues(at) && this.#isAdverb(at)) at += 1;
    if (!this.#continues(at)) {
      at = this.#afterInsertion(at); // "he, however, runs"
    } else if (['who', 'that'].includes(this.lower[at])) {
      this.#doubt(); // "he who laughs last laughs best"
      return;
    }
    if (at < this.words.length && this.lower[at] !== 'and') {
      const verb = baseForm(this.lower[at]);
      if (verb) this.#put(at, verb);
      this.#fitCoordinated(at + 1);
    }
  }

  /** The place of the verb after what stands between two commas; the end of the sentence if there is no verb. */
  #afterInsertion(at) {
    const places = [...this.words.keys()].slice(at);
    const known = places.filter((place) => this.#isFinite(place));
    const commas = places.filter((place) => strip(this.gaps[place]) === ',');
    if (!known.length) return this.words.length;
    if (commas[0] !== at || commas[1] !== known[0]) this.#doubt();
    return known[0];
  }

  /** Whether a word is the third person of a verb that is known. */
  #isFinite(place) {
    const word = this.lower[place];
    return english.PLURAL_AUXILIARIES.has(word) || english.VERBS.has(baseForm(word));
  }

  #continues(at) {
    return at < this.words.length && isSpace(this.gaps[at]);
  }

  #isAdverb(at) {
    const word = this.lower[at];
    if (english.ADVERBS.has(word) || ['himself', 'herself', 'both'].includes(word)) return true;
    return word.endsWith('ly') && word !== 'fly';
  }

  /** Whether an auxiliary stands before the subject; it is then made to fit: "Is he tall?", "Who is she?". */
  #isInverted(place) {
    const before = this.#before(place);
    let at = place - 1;
    if (before === 't' && this.sentence.hasApostrophe(at)) at -= 1;
    if (before === 's' && this.sentence.hasApostrophe(at) && english.QUESTIONS.has(this.lower[at - 1])) {
      this.gaps[at] = ' ';
      this.words[at] = english.PERFECT.has(this.#after(place)) ? 'have' : 'are';
      return true;
    }
    if (!before || !english.AUXILIARIES.has(this.lower[at])) return false;
    const first = at === 0 || !isSpace(this.gaps[at]);
    if (!first && !english.BEFORE_INVERSION.has(this.lower[at - 1]) && !english.QUESTIONS.has(this.lower[0])) {
      return false; // "it is he"
    }
    this.#put(at, english.PLURAL_AUXILIARIES.get(this.lower[at]) ?? this.lower[at]);
    return true;
  }

  /** Whether the s of "he's" is has: "he's been", "he's caught a fish". */
  #isPerfect(at) {
    while (this.#continues(at + 1) && this.#isAdverb(at + 1)) at += 1;
    const [verb, then] = [this.#after(at), this.#after(at + 1)];
    const participle = isParticiple(verb) || verb.endsWith('en');
    const hasObject = english.POSSESSIVES.has(then) || ['a', 'an', 'the', 'it', 'him', 'them'].includes(then);
    return english.PERFECT.has(verb) || (participle && hasObject);
  }

  /** Make the other verbs of a subject fit: "he sits and reads", "she stops, looks and is gone". */
  #fitCoordinated(from) {
    for (let place = from; place < this.words.length; place++) {
      const [word, after] = [this.lower[place], this.#after(place)];
      const verb = baseForm(word);
      if (['he', 'she', 'they', 'i', 'we', 'you'].includes(word)) return;
      const hasObject = among(after, english.DETERMINERS, english.PRONOUNS);
      const nounToo = english.VERBS_OR_NOUNS.has(word) && !hasObject && !english.DIRECTIONS.has(after);
      if (verb && (this.#isFinite(place) || hasObject) && this.#followsConjunction(place)) {
        if (nounToo) this.#doubt();
        this.#put(place, verb);
      } else if (this.#isFinite(place) && !nounToo && !english.DETERMINERS.has(this.#before(place))) {
        if (!this.#hasSubject(place)) this.#doubt();
        return; // of another clause, "as a dog runs and barks", to which those after it may belong
      }
    }
  }

  /** Whether a noun or pronoun stands before a third person, so that it is a verb. */
  #hasSubject(place) {
    const before = this.#before(place);
    if (english.PLURAL_AUXILIARIES.has(this.lower[place])) return true;
    if (among(before, english.SUBORDINATORS, english.PRONOUNS)) return true;
    const known = among(before, english.FUNCTION_WORDS, english.ADJECTIVES) || english.VERBS.has(baseForm(before));
    return !known && [place - 1, place - 2].some((at) => english.DETERMINERS.has(this.#before(at)));
  }

  #followsConjunction(place) {
    let at = place - 1;
    while (at > 0 && this.#continues(at + 1) && this.#isAdverb(at)) at -= 1;
    const joined = this.#continues(at + 1) && ['and', 'or', 'but'].includes(this.lower[at]);
    return joined || strip(this.gaps[at + 1]) === ',';
  }
}

function isParticiple(word) {
  return english.PARTICIPLES.has(word) || (word.endsWith('ed') && !english.NOUNS_IN_ED.has(word));
}

/** What to say instead of a word in lower case; null if it states no gender. */
function neutralOf(word) {
  if (isGenderedCompound(word)) return word.slice(0, -5) + (word.endsWith('women') ? 'people' : 'person');
  return GENDERED.get(word) ?? null;
}

/** What to say instead of one of those whom a gendered noun names. */
function singularOf(word) {
  if (word.endsWith('women') && isGenderedCompound(word)) return `${word.slice(0, -5)}person`;
  return PLURALS.get(word) ?? neutralOf(word) ?? word;
}

function gapOf(gaps, otherwise) {
  if (gaps.length === 1) return gaps[0];
  return gaps.filter((gap) => /[^ \-/]/.test(gap)).join('') || otherwise;
}
