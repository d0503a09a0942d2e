// Word after word: greedy and beam search, the same for captions and answers of all families. What beam_search and
// every_length in fastcap/generation/autoregressive.py do.

import { LENGTH_PENALTY } from './contract.js';

/**
 * The `beams` best texts of `low` to `high` tokens that continue each of `prompts`, best first: for each prompt
 * [{ids, logP, score}]. `logP` are the log-probabilities of the tokens, and last of the end mark; `score` is their sum
 * over the length ** 0.7.
 *
 * `reader`: a Stepper or Opened of stepper.js, and `state` what the stepper made of the picture. Where it keeps rows
 * `apart`, a prompt is read once for all its beams, and what has ended is not computed any more. Elsewhere rows are as
 * many from the first step to the last, as in Python, since kernels round several rows otherwise than one.
 *
 * `prompts`: token ids, for a caption the begin mark alone; `marks`: {bos, eos}; `forbidden`: ids that are never said. A
 * token is never said twice in a row either. One beam is greedy search.
 */
export async function beamSearch(reader, state, { prompts, low, high, beams, marks, forbidden }) {
  const paths = new Paths(reader, state, prompts, beams, marks, forbidden);
  let rows = prompts.flatMap(() => firstRows(beams));
  for (let position = 0; position <= high && !rows.every(({ done }) => done); position++) {
    await paths.step();
    const found = prompts.map(() => new Best(beams));
    for (const [at, row] of rows.entries()) {
      const best = found[Math.floor(at / beams)];
      if (row.total === -Infinity) continue;
      if (row.done) {
        best.offer(row.total, at, marks.eos, 0); // a finished text goes on as itself
        continue;
      }
      const { logP, end } = paths.next(at);
      if (position < high) logP.forEach((each, id) => best.offer(row.total + each, at, id, each));
      if (position >= low) best.offer(row.total + end, at, marks.eos, end);
    }
    rows = paths.follow(rows, found);
  }
  const ended = (_, at) => rows.slice(at * beams, (at + 1) * beams).filter(({ total }) => total > -Infinity);
  return prompts.map(ended).map((texts) => texts.map(scored).sort(byScore));
}

/**
 * Captions of every length from `low` to `high` tokens, up to `beams` of each, best first, as of `beamSearch`; of one
 * prompt.
 *
 * The end mark competes with no token: the likeliest beginnings go on whether or not they could end, and each is a
 * caption as well. `noRepeat`: no so many tokens in a row come twice.
 */
export async function everyLength(reader, state, { prompts, low, high, beams, marks, forbidden, noRepeat }) {
  let rows = firstRows(beams);
  const paths = new Paths(reader, state, prompts, beams, marks, forbidden);
  const captions = [];
  for (let position = 0; position <= high && !rows.every(({ done }) => done); position++) {
    await paths.step();
    const found = new Best(beams);
    for (const [at, row] of rows.entries()) {
      if (row.total === -Infinity) continue;
      const { logP, end } = paths.next(at);
      if (position >= low) captions.push({ ids: row.ids, logP: [...row.logP, end], total: row.total + end });
      for (const id of repeating(row.ids, noRepeat)) logP[id] = -Infinity;
      if (position < high) logP.forEach((each, id) => found.offer(row.total + each, at, id, each));
    }
    rows = paths.follow(rows, [found]);
  }
  return captions.map(scored).sort(byScore);
}

/** Rows that have said nothing. They are equal at first: only one of them may branch. */
function firstRows(beams) {
  const total = (row) => (row ? -Infinity : 0);
  return Array.from({ length: beams }, (_, row) => ({ ids: [], logP: [], total: total(row), done: false }));
}

function scored({ ids, logP, total }) {
  return { ids, logP, score: total / Math.max(1, ids.length) ** LENGTH_PENALTY };
}

function byScore(one, other) {
  return other.score - one.score;
}

/** The tokens that would end a sequence of so many which `ids` hold already. */
function repeating(ids, noRepeat) {
  const start = ids.slice(ids.length - noRepeat + 1);
  return ids.filter((_, at) => at >= start.length && start.every((id, back) => ids[at - start.length + back] === id));
}

/** The network's side of a search: what each row read last, and what it says comes next. */
class Paths {
  #reader;
  #state;
  #prompts;
  #beams;
  #marks;
  #forbidden;
  #past = null;
  #told;
  #places; // of each row in what was told; -1 of one that was not computed
  #parents;
  #last;

  constructor(reader, state, prompts, beams, marks, forbidden) {
    [this.#reader, this.#state, this.#prompts, this.#beams] = [reader, state, prompts, beams];
    [this.#marks, this.#forbidden] = [marks, forbidden];
    this.#last = Array(prompts.length * beams).fill(marks.bos);
  }

  async step() {
    const rows = this.#last.map((_, row) => row);
    const { apart } = this.#reader;
    if (!this.#past) {
      const prompts = apart ? this.#prompts : rows.map((row) => this.#prompts[Math.floor(row / this.#beams)]);
      this.#places = rows.map((row) => (apart ? Math.floor(row / this.#beams) : row));
      ({ log_p: this.#told, past: this.#past } = await this.#reader.read(prompts, this.#state));
      return;
    }
    const going = rows.filter((row) => !apart || this.#last[row] !== this.#marks.eos);
    const [ids, parents] = [this.#last, this.#parents].map((each) => going.map((row) => each[row]));
    this.#places = rows.map((row) => going.indexOf(row));
    ({ log_p: this.#told, past: this.#past } = await this.#reader.step(ids, parents, this.#past, this.#state));
  }

  /** Log-probabilities of a row's next token, -Infinity where it is barred; that of the end mark is apart. */
  next(row) {
    const [size, at] = [this.#told.dims[1], this.#places[row]];
    const logP = this.#told.data.subarray(at * size, (at + 1) * size);
    const end = logP[this.#marks.eos];
    for (const id of [this.#marks.eos, this.#last[row], ...this.#forbidden]) logP[id] = -Infinity;
    return { logP, end };
  }

  /** The rows that continue those before as `found` says, of the rows of each prompt. */
  follow(before, found) {
    const next = found.flatMap(({ all }) => Array.from({ length: this.#beams }, (_, place) => all[place] ?? null));
    this.#parents = next.map((each) => Math.max(0, this.#places[each?.row ?? 0]));
    const rows = next.map((each) => {
      if (!each) return { ids: [], logP: [], total: -Infinity, done: true }; // nothing was allowed
      const { ids, logP, done } = before[each.row];
      if (done) return before[each.row];
      const ends = each.id === this.#marks.eos;
      return { ids: ends ? ids : [...ids, each.id], logP: [...logP, each.logP], total: each.total, done: ends };
    });
    this.#last = rows.map(({ ids, done }) => (done ? this.#marks.eos : ids.at(-1)));
    return rows;
  }
}

/** The few highest totals among many, best first; of equal ones those that came first. */
class Best {
  all = [];
  #most;
  #least = -Infinity;

  constructor(most) {
    this.#most = most;
  }

  offer(total, row, id, logP) {
    if (!(total > this.#least)) return;
    let at = this.all.length;
    while (at > 0 && this.all[at - 1].total < total) at -= 1;
    this.all.splice(at, 0, { total, row, id, logP });
    this.all.length = Math.min(this.all.length, this.#most);
    if (this.all.length === this.#most) this.#least = this.all.at(-1).total;
  }
}
