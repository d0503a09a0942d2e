// fastcap in a browser or in Node: pictures in, captions out, nothing sent anywhere.
//
//   import { load } from './fastcap.js';
//   const captioner = await load('models/fastcap-base');
//   const [caption] = await captioner.caption(blob);     // caption.text, caption.confidence
//
// Node decodes no pictures: there it is captioner.caption({ data, width, height }), the pixels as RGBA.
//
// What fastcap/runtime/captioner.py does, all but samples; the same pixels give the same captions.

import { Prompts, searchAnswers } from './asking.js';
import {
  FORMAT, IMAGE_VECTORS, KINDS, LEAST_END, LEAST_TOKEN, LENGTH_BEAMS, MANIFEST, MAX_BEAMS, MODEL, NO_REPEAT, OUTPUTS,
  PHOTO, SHORT, TOKENIZER, USUAL, WORDS, WORD_SPREAD,
} from './contract.js';
import { ConfigError, ModelFileError } from './errors.js';
import { fetchBytes, fetchFile, locate, Progress } from './files.js';
import { ImageError, loadImage } from './images.js';
import { doubted, PhotoHead } from './photo.js';
import { PictureWords, Ranker } from './ranking.js';
import { beamSearch, everyLength } from './search.js';
import { Opened, Scales, Stepper } from './stepper.js';
import { Tokenizer } from './tokenizer.js';
import { withSoundOthers, Wordings } from './wording.js';

export { ConfigError, ImageError, ModelFileError };

/**
 * Load a model directory below the address `folder`, in Node also a path: `model.json`, `tokenizer.json`, `photo.json`
 * and `words.npz` if it has them, and the graphs of its kind with their weights; of a parallel model `model.onnx` alone.
 *
 * `onProgress`: called with the share that has arrived, 0 to 1, of the model and of the runtime.
 * `threads`: for the network; more than 1 needs a cross-origin isolated page (COOP and COEP headers), where half of the
 * cores is the default, two at least and four at most, or `onnxruntime-node`. With an `onnxruntime-web` of your own its
 * `env.wasm.numThreads` counts.
 * `ort`: ONNX Runtime's API, `onnxruntime-web` or `onnxruntime-node`, for those who have it already; by default the one
 * in `vendor/` beside this file. In Node `onnxruntime-node` is several times as fast.
 * `vendor`: the address of that folder, where a bundler left it behind or another host has it.
 *
 * Every file is compared with its size and sha256 in `model.json` before it is used. (Without https, from another
 * machine, browsers lend pages no sha256: there the size alone is compared.)
 *
 * Returns a Captioner. Throws ModelFileError, ConfigError for threads that cannot be had, or TypeError where the network
 * fails.
 */
export async function load(folder, { onProgress = () => {}, threads = usualThreads(), ort, vendor } = {}) {
  const progress = new Progress(onProgress);
  const base = locate(folder);
  const runtime = Promise.resolve(ort ?? loadRuntime(threads, progress, vendor));
  runtime.catch(() => {}); // thrown where it is waited for; until then it must not end Node
  const manifest = parsed(await fetchBytes(new URL(MANIFEST, base)));
  if (manifest.format !== FORMAT) {
    throw new ModelFileError(`${base}${MANIFEST}: format is ${manifest.format}; expected ${FORMAT}`);
  }
  if (!Object.hasOwn(KINDS, manifest.kind)) {
    const kinds = Object.keys(KINDS).join(' or ');
    throw new ModelFileError(`${base}${MANIFEST}: kind is ${manifest.kind}; expected ${kinds}`);
  }
  const { graphs, left_to_right: stepped } = KINDS[manifest.kind];
  const names = Object.keys(manifest.files ?? {});
  const fetched = async (wanted, to) => {
    const read = wanted.map(async (name) => [name, await fetchFile(base, name, manifest.files?.[name], to)]);
    return Object.fromEntries(await Promise.all(read));
  };
  const scales = (manifest.exits?.thresholds ?? []).map((_, at) => `scale${at + 1}.onnx`);
  const weights = names.filter((name) => name.endsWith('.data'));
  const optional = [PHOTO, WORDS].filter((name) => names.includes(name));
  const first = [TOKENIZER, ...graphs, ...scales, ...weights, ...optional];
  const [files, api] = await Promise.all([fetched(first, progress), runtime]);
  const head = files[PHOTO] ? new PhotoHead(parsed(files[PHOTO])) : null;
  const tokenizer = new Tokenizer(parsed(files[TOKENIZER]));
  const said = files[WORDS] ? await readWords(files[WORDS]) : null;
  const ranker = manifest.ranking ? new Ranker(manifest.ranking, said, tokenizer) : null;
  const settings = { graphOptimizationLevel: 'all', logSeverityLevel: 4, intraOpNumThreads: threads };
  // These are handed the files, and do not hold them: they are not needed any more once a graph is opened.
  const opened = (held, name) => {
    const isWeights = (each) => each !== name && (each === MODEL || each.endsWith('.data'));
    const externalData = Object.keys(held).filter(isWeights).map((path) => ({ path, data: held[path] }));
    return api.InferenceSession.create(held[name], { ...settings, externalData });
  };
  const openStepper = async (held) => {
    const sessions = [];
    for (const name of stepped) sessions.push(await opened(held, name));
    const decoder = sessions.pop();
    if (scales.length) {
      const all = [sessions[0]];
      for (const name of scales) all.push(await opened(held, name));
      sessions[0] = new Scales(all, manifest.exits.thresholds);
    }
    return new Stepper(api, sessions, decoder);
  };
  const made = { api, tokenizer, manifest, head, ranker, session: null };
  if (!graphs.includes(MODEL)) {
    const stepper = await openStepper(files);
    return new Captioner({ ...made, openStepper: () => stepper });
  }
  // The two read their weights out of the whole graph's file, which a browser has kept.
  const later = async () => openStepper(await fetched([MODEL, ...stepped]));
  return new Captioner({ ...made, session: await opened(files, MODEL), openStepper: later });
}

function parsed(bytes) {
  return JSON.parse(new TextDecoder().decode(bytes));
}

async function readWords(bytes) {
  try {
    return await PictureWords.read(bytes);
  } catch (error) {
    throw new ModelFileError(`${WORDS}: not the words of pictures (${error.message})`);
  }
}

/**
 * A picture that is ready to be captioned and asked about; `Captioner.encode` gives it. It keeps what the network made
 * of it.
 */
class Encoded {
  /** `images`: the tensor of `pixels`, RGB. */
  constructor(captioner, pixels, images) {
    this.captioner = captioner;
    this.pixels = pixels;
    this.images = images;
    this.state = null; // for decoding from left to right
    this.vector = undefined;
    this.opened = new Map(); // readers of prompts, by what these begin with
  }
}

/** A loaded model; make one with `load`. Does one job at a time, in the order in which they were asked for. */
export class Captioner {
  #ort;
  #session; // of model.onnx, null where there is none
  #openStepper;
  #stepper = null;
  #tokenizer;
  #head; // null where the model cannot tell what a picture is
  #ranker; // null where candidates stay as the network orders them
  #last = Promise.resolve();

  constructor({ api, session, openStepper, tokenizer, manifest, head, ranker }) {
    if (tokenizer.size !== manifest.vocabulary.size) {
      throw new ModelFileError(
        `${TOKENIZER}: ${tokenizer.size} tokens; ${MANIFEST} states ${manifest.vocabulary.size}`,
      );
    }
    this.#ort = api;
    this.#session = session;
    this.#openStepper = openStepper;
    this.#tokenizer = tokenizer;
    this.#head = head;
    this.#ranker = ranker;
    /** What `model.json` says: name, preprocessing, decoding limits, measured quality and speed. */
    this.manifest = manifest;
    const { decodes, left_to_right: stepped } = KINDS[manifest.kind];
    const searches = stepped.every((name) => name in manifest.files);
    /** How the model can decode; the first is what it does at the length 'normal' where nobody asks for another. */
    this.decodes = decodes.filter((way) => way === 'parallel' || (way !== 'sample' && searches));
  }

  /**
   * Load one picture, as in `caption`, and run the expensive step of the model, once: `caption` and `ask` take the
   * result in place of the picture. A parallel model is one graph from pixels to captions, so of its pictures only the
   * pixels are kept.
   *
   * Throws ImageError for a bad picture.
   */
  async encode(image) {
    const { result } = await this.#inTurn(async () => {
      const picture = await this.#taken(image);
      if (!this.#session) await this.#encoded(picture);
      return picture;
    });
    return result;
  }

  /**
   * Caption one picture, or an array of them; an array of captions comes back, in their order.
   *
   * A picture is {data, width, height}, its upright pixels as RGBA, such as ImageData or what Node's decoders give; or,
   * in a browser, a Blob or File or anything else that `createImageBitmap` takes.
   *
   * `length`: 'short', 'normal' or 'long', or a number of words. For all but 'normal', captions of every length are
   * searched one word after another, and those left out that do not read as sentences; for a number, of the others the
   * nearest to it is chosen.
   * `candidates`: how many different wordings to return at most.
   * `neutral`: say nothing of anybody's gender.
   * `decode`: 'parallel', all tokens at once in a few passes, or one after another, 'greedy' or 'beam' search; the two
   * graphs that this takes are loaded when it is first asked for. One of `decodes`, of which the first is the default,
   * and 'beam', if the model can, for a length other than 'normal'. Greedy search finds one wording.
   * `beams`: hypotheses that beam search keeps, 1 to 8, by default 3; at least as many as `candidates`, and at least 16
   * for a length other than 'normal'.
   * `minConfidence`: a caption whose confidence is lower has no text and no candidates; 0 by default.
   * `hedge`: a caption whose confidence is lower, and any of a picture that is no photo, begins with "Maybe: "; 0 by
   * default, which hedges nothing.
   * `noMemory`: candidates stay as the network orders them, also where the model has words of pictures to rank them by.
   *
   * A caption is {text, confidence, tokens, candidates, milliseconds, kind}: `kind` is what the picture is, 'photo' or
   * else 'blank', 'text', 'screen', 'chart' or 'drawing', of which the confidence is lowered; null where the model
   * cannot tell. `confidence` from 0 to 1 is about the share of
   * the content words that people would use as well; `tokens` are [{text, confidence}]; `candidates` are the wordings,
   * best first, the first being the caption itself.
   *
   * Throws ImageError for a bad picture, ConfigError for an option out of range, and what `load` throws where the graphs
   * of a search are loaded.
   */
  async caption(images, options = {}) {
    const plan = this.#plan(options);
    const captions = [];
    for (const image of Array.isArray(images) ? images : [images]) {
      const job = async () => this.#run(await this.#taken(image), plan);
      const { result, milliseconds } = await this.#inTurn(job);
      captions.push({ ...result, milliseconds });
    }
    return captions;
  }

  /**
   * Caption a picture that is already at the model's size: a Uint8Array of RGB (height * width * 3). Needs no browser.
   *
   * Options are those of `caption`. Returns one caption.
   */
  async captionPixels(pixels, options = {}) {
    const { width, height } = this.manifest.preprocessing;
    if (!(pixels instanceof Uint8Array) || pixels.length !== width * height * 3) {
      throw new ConfigError(`pixels are not a Uint8Array of ${height}x${width}x3`);
    }
    const [caption] = await this.caption(this.#ofPixels(pixels), options);
    return caption;
  }

  /**
   * Answer a question about a picture, or an array of up to 1,000, which are searched side by side: each answer is that
   * to its question alone. Of an array, an array of answers comes back, in order.
   *
   * `image`: as in `caption`; of what `encode` gave nothing is computed again.
   * `beams`: hypotheses of an answer, 1 to 8; by default 1, as answers are short.
   *
   * An answer is {question, text, confidence, milliseconds}: `confidence` from 0 to 1 is about the share of such answers
   * that are right; questions that were asked together share the time equally.
   *
   * Throws ImageError for a bad picture, ConfigError for a question that is none, empty or too long, or a model that was
   * not trained to answer: `manifest.questions` says whether it was.
   */
  async ask(image, questions, { beams = 1, ...unknown } = {}) {
    const { name, questions: limits, decoding, vocabulary } = this.manifest;
    if (!limits) throw new ConfigError(`model '${name}' writes captions and answers no questions`);
    const [stranger] = Object.keys(unknown);
    if (stranger) throw new ConfigError(`unknown option ${stranger}; allowed is beams`);
    checkWhole('beams', beams, 1, MAX_BEAMS);
    const asked = Array.isArray(questions) ? questions : [questions];
    const prompts = new Prompts(this.manifest, this.#tokenizer, asked);
    const { result: found, milliseconds } = await this.#inTurn(async () => {
      const picture = await this.#taken(image);
      const { stepper, state } = await this.#encoded(picture);
      const opening = prompts.opening.join();
      if (!picture.opened.has(opening)) picture.opened.set(opening, new Opened(stepper, prompts.opening));
      const settings = { low: 1, high: decoding.max_length, beams, ...barred(vocabulary) };
      return searchAnswers(picture.opened.get(opening), state, prompts.ids, settings);
    });
    const answers = found.map(({ ids, logP }, at) => ({
      question: asked[at],
      text: this.#tokenizer.decode(ids).replace(/^ /, ''),
      // A word or two, which are right together or not at all.
      confidence: calibrated(limits, Math.exp(logP.reduce((sum, each) => sum + each, 0))),
      milliseconds: milliseconds / asked.length,
    }));
    return Array.isArray(questions) ? answers : answers[0];
  }

  /** One job after another, in the order of the calls: {result, milliseconds}, those of the job alone. */
  #inTurn(job) {
    const done = this.#last.then(async () => {
      const started = performance.now();
      const result = await job();
      return { result, milliseconds: performance.now() - started };
    });
    this.#last = done.catch(() => {});
    return done;
  }

  /** A caller's picture as an Encoded, of which nothing is computed ahead. */
  async #taken(image) {
    const { name, preprocessing } = this.manifest;
    if (!(image instanceof Encoded)) {
      return this.#ofPixels(await loadImage(image, preprocessing.width, preprocessing.height));
    }
    if (image.captioner !== this) {
      const allowed = `one that encode() of this captioner, of model '${name}', returned`;
      throw new ConfigError(`got a picture that another captioner encoded; allowed: ${allowed}`);
    }
    return image;
  }

  #ofPixels(pixels) {
    const { width, height } = this.manifest.preprocessing;
    return new Encoded(this, pixels, new this.#ort.Tensor('uint8', pixels, [1, height, width, 3]));
  }

  /** The stepper, and its state of a picture, which is computed once. */
  async #encoded(picture) {
    this.#stepper ??= await this.#openStepper();
    if (!picture.state) {
      const { state, vector } = await this.#stepper.encode(picture.images);
      picture.state = state;
      picture.vector ??= vector;
    }
    return { stepper: this.#stepper, state: picture.state };
  }

  async #run(picture, plan) {
    const { width, height } = this.manifest.preprocessing;
    const worded = async (asked) => {
      const wordings = new Wordings(asked, this.#tokenizer);
      wordings.add(await this.#ranked(picture, asked));
      const further = wordings.further(this.manifest.decoding);
      if (further) wordings.add(await this.#ranked(picture, further));
      return wordings.best();
    };
    let best = await worded(plan);
    const { others, returned } = plan;
    if (others || returned > 1) best = withSoundOthers(best, others ? await worded(others) : [], others ?? plan);
    const candidates = best.map(([text, { ids, probability, each }]) => {
      const tokens = ids.map((id, at) => ({ text: this.#tokenizer.decode([id]), confidence: each[at] }));
      return { text, confidence: calibrated(this.manifest.calibration, probability), tokens };
    });
    const verdict = this.#head && this.#head.judge(picture.pixels, width, height, await this.#vector(picture));
    const { shown, confidence } = doubted(candidates, verdict, plan);
    const [{ text, tokens } = { text: '', tokens: [] }] = shown;
    return { text, confidence, tokens, candidates: shown, kind: verdict?.kind ?? null };
  }

  /**
   * What is decoded of a picture, best first: by the ranker if there is one and the plan asks for it. Captions of every
   * length keep their order, since weights are fitted to those of the usual ones.
   */
  async #ranked(picture, plan) {
    const { decode, every_length: everyOne, noMemory } = plan;
    const found = await (decode === 'parallel' ? this.#refined : this.#searched).call(this, picture, plan);
    if (!this.#ranker?.weights(decode) || everyOne || noMemory || found.length < 2) return found;
    const vector = await this.#vector(picture);
    if (!this.#ranker.fits(vector)) {
      throw new ModelFileError(`${WORDS}: made with vectors of another width than the model's, ${vector.length}`);
    }
    return this.#ranker.order(found, vector, decode);
  }

  /** The picture's vector: from what was run of it; else from a run for it alone. */
  async #vector(picture) {
    if (!picture.vector) {
      await (this.#session ? this.#refined(picture, this.#plan({ decode: 'parallel' })) : this.#encoded(picture));
    }
    return picture.vector;
  }

  /** What the whole graph says of a picture, best first: [{ids, probability, each, sound}]. */
  async #refined(picture, plan) {
    const { Tensor } = this.#ort;
    const { size } = this.manifest.vocabulary;
    const feeds = {
      images: picture.images,
      length_range: new Tensor('int64', BigInt64Array.of(BigInt(plan.low), BigInt(plan.high)), [2]),
      candidates: new Tensor('int64', BigInt64Array.of(BigInt(plan.decoded)), [1]),
      penalties: new Tensor('float32', new Float32Array(size), [size]),
    };
    const outputs = this.#head || this.#ranker ? [...OUTPUTS, IMAGE_VECTORS] : OUTPUTS;
    const { token_ids, lengths, confidences, token_confidences, ...more } = await this.#session.run(feeds, outputs);
    picture.vector ??= more[IMAGE_VECTORS]?.data;
    const row = token_ids.dims[2];
    return Array.from(lengths.data, (length, k) => {
      const part = ({ data }) => Array.from(data.slice(k * row, k * row + Number(length)), Number);
      const each = part(token_confidences);
      return { ids: part(token_ids), probability: confidences.data[k], each, sound: true };
    });
  }

  /** What is found from left to right of a picture, best first: [{ids, probability, each, sound}]. */
  async #searched(picture, plan) {
    const { stepper, state } = await this.#encoded(picture);
    const { low, high, beams, every_length: everyOne } = plan;
    const { marks, forbidden } = barred(this.manifest.vocabulary);
    const asked = { prompts: [[marks.bos]], low, high, beams, marks, forbidden, noRepeat: NO_REPEAT };
    const found = everyOne ? await everyLength(stepper, state, asked) : (await beamSearch(stepper, state, asked))[0];
    if (!found.length) {
      throw new ConfigError(`no caption of ${plan.low} to ${plan.high} tokens is left under these options`);
    }
    const decoded = found.map(({ ids, logP }) => {
      const judged = everyOne && ids.length ? logP.slice(0, -1) : logP; // where it ends tells nothing of its words
      const probability = Math.exp(judged.reduce((sum, each) => sum + each, 0) / judged.length);
      const each = logP.slice(0, -1).map(Math.exp);
      // Nobody writes captions of two words: after so few the end is improbable whatever they say.
      const ends = ids.length <= SHORT || Math.exp(logP.at(-1)) >= LEAST_END;
      return { ids, probability, each, sound: !everyOne || (ends && Math.min(1, ...each) >= LEAST_TOKEN) };
    });
    return decoded.sort((one, other) => other.sound - one.sound);
  }

  /** What to ask of the graph: lengths `low` to `high` in tokens, `decoded` of them; and what to give back. */
  #plan({
    length = USUAL.length,
    candidates = USUAL.candidates,
    neutral = USUAL.neutral,
    decode: wayAsked,
    beams = USUAL.beams,
    minConfidence = USUAL.min_confidence,
    hedge = USUAL.hedge,
    noMemory = USUAL.no_memory,
    ...unknown
  }) {
    const usualWay = length !== USUAL.length && this.decodes.includes('beam') ? 'beam' : this.decodes[0];
    const decode = wayAsked ?? usualWay;
    const limits = this.manifest.decoding;
    const [stranger] = Object.keys(unknown);
    if (stranger) {
      const known = 'length, candidates, neutral, decode, beams, minConfidence, hedge, noMemory';
      throw new ConfigError(`unknown option ${stranger}; allowed are ${known}`);
    }
    checkWhole('candidates', candidates, 1, limits.max_candidates);
    if (!this.decodes.includes(decode)) {
      const { name } = this.manifest;
      throw new ConfigError(`decode is '${decode}'; allowed with model '${name}' are ${this.decodes.join(', ')}`);
    }
    checkWhole('beams', beams, 1, MAX_BEAMS);
    checkShare('minConfidence', minConfidence);
    checkShare('hedge', hedge);
    if (decode === 'greedy' && candidates > 1) {
      throw new ConfigError(`candidates is ${candidates}; greedy search finds 1, beam search up to ${MAX_BEAMS}`);
    }
    if (decode === 'parallel' && !wayAsked && candidates > 1 && this.decodes.includes('beam')) {
      const options = { length, neutral, beams, minConfidence, hedge, noMemory };
      return { ...this.#plan({ ...options, candidates: 1 }), others: this.#plan({ ...options, candidates, decode: 'beam' }) };
    }
    const everyOne = length !== USUAL.length && decode !== 'parallel';
    const kept = Math.max(beams, candidates, everyOne ? LENGTH_BEAMS : 1);
    const way = {
      neutral, decode, beams: decode === 'greedy' ? 1 : kept, every_length: everyOne, others: null, minConfidence, hedge,
      noMemory,
    };
    if (typeof length === 'string') {
      if (!Object.hasOwn(limits.lengths, length)) {
        const names = Object.keys(limits.lengths).join(', ');
        throw new ConfigError(`length is '${length}'; allowed are ${names} or a number of words`);
      }
      const [low, high] = limits.lengths[length];
      const decoded = Math.min(Math.max(candidates, limits.default_candidates), high - low + 1);
      return { low, high, decoded, returned: candidates, words: null, ...way };
    }
    checkWhole('length', length, limits.min_length, limits.max_length);
    const wanted = Math.min(Math.max(candidates, WORD_SPREAD + 1), limits.max_candidates);
    const low = everyOne ? limits.min_length : length;
    const high = Math.min(length + (everyOne ? WORD_SPREAD : wanted - 1), limits.max_length);
    const decoded = Math.min(wanted, high - low + 1);
    return { low, high, decoded, returned: candidates, words: length, ...way };
  }
}

/** The marks of a search, and the ids that it never says. */
function barred({ pad_id: pad, bos_id: bos, eos_id: eos, mask_id: mask, unk_id: unk }) {
  return { marks: { bos, eos }, forbidden: [pad, bos, mask, unk].filter((id) => id !== null) }; // null: no such mark
}

/** A probability as a confidence: sigmoid(scale * logit(p) + offset), as fitted at export. */
function calibrated({ scale, offset }, probability) {
  const p = Math.min(Math.max(probability, 1e-6), 1 - 1e-6);
  return 1 / (1 + Math.exp(-Math.min(Math.max(scale * Math.log(p / (1 - p)) + offset, -30), 30)));
}

function checkWhole(name, value, low, high) {
  if (!Number.isInteger(value) || value < low || value > high) {
    throw new ConfigError(`${name} is ${value}; allowed are whole numbers from ${low} to ${high}`);
  }
}

function checkShare(name, value) {
  if (typeof value !== 'number' || !(value >= 0 && value <= 1)) {
    throw new ConfigError(`${name} is ${value}; allowed are numbers from 0 to 1`);
  }
}

/** Half of the cores, which are often two to a real one, but two if there are; four at most: the graph is small. */
function usualThreads() {
  const cores = globalThis.crossOriginIsolated ? navigator.hardwareConcurrency : 1;
  return Math.min(cores, 4, Math.max(2, Math.ceil(cores / 2)));
}

/** ONNX Runtime Web out of `vendor/`, WebAssembly with SIMD. Its file is kept gzipped; see fetch_runtime.py. */
async function loadRuntime(threads, progress, vendor) {
  if (threads > 1 && !globalThis.crossOriginIsolated) {
    throw new ConfigError(`threads is ${threads}; more than 1 need a cross-origin isolated page, or onnxruntime-node`);
  }
  const [main, glue, wasm] = runtimeFiles(vendor);
  const [ort, packed] = await Promise.all([
    import(/* webpackIgnore: true */ /* @vite-ignore */ main.href),
    fetchBytes(wasm, progress),
  ]);
  const isGzip = packed[0] === 0x1f && packed[1] === 0x8b; // some servers unpack a .gz on their own
  const unpacked = new Blob([packed]).stream().pipeThrough(new DecompressionStream('gzip'));
  ort.env.wasm.wasmBinary = isGzip ? await new Response(unpacked).arrayBuffer() : packed.buffer;
  ort.env.wasm.wasmPaths = { mjs: glue.href };
  ort.env.wasm.numThreads = threads;
  return ort;
}

/** The addresses of ONNX Runtime Web's files, each spelt out: so bundlers find them, and take the files along. */
function runtimeFiles(vendor) {
  if (vendor) {
    const base = locate(vendor);
    const names = ['ort.wasm.min.mjs', 'ort-wasm-simd-threaded.mjs', 'ort-wasm-simd-threaded.wasm.gz'];
    return names.map((name) => new URL(name, base));
  }
  return [
    new URL('./vendor/ort.wasm.min.mjs', import.meta.url),
    new URL('./vendor/ort-wasm-simd-threaded.mjs', import.meta.url),
    new URL('./vendor/ort-wasm-simd-threaded.wasm.gz', import.meta.url),
  ].map(({ href }) => new URL(href.replace('/.vite/deps/vendor/', '/fastcap/vendor/'))); // Vite moves this file alone
}
