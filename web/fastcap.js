// fastcap in a browser or in Node: pictures in, captions out, nothing sent anywhere.
//
//   import { load } from './fastcap.js';
//   const captioner = await load('models/fastcap-base');
//   const [caption] = await captioner.caption(blob);     // caption.text, caption.confidence
//
// Node decodes no pictures: there it is captioner.caption({ data, width, height }), the pixels as RGBA.
//
// What fastcap/runtime/captioner.py does, all but samples; the same pixels give the same captions.

import {
  FORMAT, IMAGE_VECTORS, KINDS, LEAST_END, LEAST_TOKEN, LEFT_TO_RIGHT, LENGTH_BEAMS, MANIFEST, MAX_BEAMS, MODEL,
  NO_REPEAT, OUTPUTS, PHOTO, SHORT, TOKENIZER, USUAL, WORDS, WORD_SPREAD,
} from './contract.js';
import { ImageError, loadImage } from './images.js';
import { doubted, PhotoHead } from './photo.js';
import { PictureWords, Ranker } from './ranking.js';
import { Stepper, beamSearch, everyLength } from './search.js';
import { Tokenizer } from './text.js';
import { withSoundOthers, Wordings } from './wording.js';

export { ImageError };

/** A model directory that is damaged or not one; the message names the file. */
export class ModelFileError extends Error {
  name = 'ModelFileError';
}

/** An option out of its range; the message says what is allowed. */
export class ConfigError extends Error {
  name = 'ConfigError';
}

/**
 * Load a model directory below the address `folder`, in Node also a path: `model.json`, `tokenizer.json`, `photo.json`
 * and `words.npz` if it has them, and `model.onnx` or, of an autoregressive model, `encode.onnx` and `step.onnx`.
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
  const manifest = JSON.parse(new TextDecoder().decode(await fetchBytes(new URL(MANIFEST, base))));
  if (manifest.format !== FORMAT) {
    throw new ModelFileError(`${base}${MANIFEST}: format is ${manifest.format}; expected ${FORMAT}`);
  }
  if (!Object.hasOwn(KINDS, manifest.kind)) {
    const kinds = Object.keys(KINDS).join(' or ');
    throw new ModelFileError(`${base}${MANIFEST}: kind is ${manifest.kind}; expected ${kinds}`);
  }
  const fetched = (names, to) =>
    Promise.all(names.map((name) => fetchFile(base, name, manifest.files?.[name], to)));
  const optional = (name) => fetched(Object.hasOwn(manifest.files ?? {}, name) ? [name] : [], progress);
  const [[vocabulary, ...graphs], [photo], [words], api] = await Promise.all([
    fetched([TOKENIZER, ...KINDS[manifest.kind].graphs], progress),
    optional(PHOTO),
    optional(WORDS),
    runtime,
  ]);
  const head = photo ? new PhotoHead(JSON.parse(new TextDecoder().decode(photo))) : null;
  const settings = { graphOptimizationLevel: 'all', logSeverityLevel: 4, intraOpNumThreads: threads };
  const opened = (graph, externalData) => api.InferenceSession.create(graph, { ...settings, externalData });
  const stepped = async ([encode, step], whole) =>
    new Stepper(api, await opened(encode, whole), await opened(step, whole));
  const tokenizer = new Tokenizer(JSON.parse(new TextDecoder().decode(vocabulary)));
  const said = words ? await readWords(words) : null;
  const ranker = manifest.ranking ? new Ranker(manifest.ranking, said, tokenizer) : null;
  if (manifest.kind === 'autoregressive') {
    const stepper = await stepped(graphs);
    return new Captioner(api, null, () => stepper, tokenizer, manifest, head, ranker);
  }
  const openStepper = async () => {
    // The two read their weights out of the whole graph's file, which a browser has kept.
    const [whole, ...both] = await fetched([MODEL, ...LEFT_TO_RIGHT]);
    return stepped(both, [{ path: MODEL, data: whole }]);
  };
  return new Captioner(api, await opened(graphs[0]), openStepper, tokenizer, manifest, head, ranker);
}

async function readWords(bytes) {
  try {
    return await PictureWords.read(bytes);
  } catch (error) {
    throw new ModelFileError(`${WORDS}: not the words of pictures (${error.message})`);
  }
}

/** A loaded model; make one with `load`. Captions one picture at a time, in the order in which they were asked for. */
export class Captioner {
  #ort;
  #session; // of model.onnx, null where there is none
  #openStepper;
  #stepper = null;
  #tokenizer;
  #head; // null where the model cannot tell what a picture is
  #ranker; // null where candidates stay as the network orders them
  #last = Promise.resolve();

  constructor(ort, session, openStepper, tokenizer, manifest, head, ranker) {
    if (tokenizer.size !== manifest.vocabulary.size) {
      throw new ModelFileError(
        `${TOKENIZER}: ${tokenizer.size} tokens; ${MANIFEST} states ${manifest.vocabulary.size}`,
      );
    }
    this.#ort = ort;
    this.#session = session;
    this.#openStepper = openStepper;
    this.#tokenizer = tokenizer;
    this.#head = head;
    this.#ranker = ranker;
    /** What `model.json` says: name, preprocessing, decoding limits, measured quality and speed. */
    this.manifest = manifest;
    /** How the model can decode; the first is what it does at the length 'normal' where nobody asks for another. */
    const possible = (way) => way === 'parallel' || (way !== 'sample' && LEFT_TO_RIGHT[0] in manifest.files);
    this.decodes = KINDS[manifest.kind].decodes.filter(possible);
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
    const { width, height } = this.manifest.preprocessing;
    const captions = [];
    for (const image of Array.isArray(images) ? images : [images]) {
      captions.push(await this.#inTurn(async () => this.#run(await loadImage(image, width, height), plan)));
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
    const plan = this.#plan(options);
    return this.#inTurn(() => this.#run(pixels, plan));
  }

  /** One job after another, in the order of the calls; `milliseconds` are then those of the job alone. */
  #inTurn(job) {
    const done = this.#last.then(async () => {
      const started = performance.now();
      const caption = await job();
      return { ...caption, milliseconds: performance.now() - started };
    });
    this.#last = done.catch(() => {});
    return done;
  }

  async #run(pixels, plan) {
    const { width, height } = this.manifest.preprocessing;
    const images = new this.#ort.Tensor('uint8', pixels, [1, height, width, 3]);
    const vectors = {};
    const worded = async (asked) => {
      const wordings = new Wordings(asked, this.#tokenizer);
      wordings.add(await this.#ranked(images, asked, vectors));
      const further = wordings.further(this.manifest.decoding);
      if (further) wordings.add(await this.#ranked(images, further, vectors));
      return wordings.best();
    };
    let best = await worded(plan);
    const { others, returned } = plan;
    if (others || returned > 1) best = withSoundOthers(best, others ? await worded(others) : [], others ?? plan);
    const candidates = best.map(([text, { ids, probability, each }]) => {
      const tokens = ids.map((id, at) => ({ text: this.#tokenizer.decode([id]), confidence: each[at] }));
      return { text, confidence: this.#confidence(probability), tokens };
    });
    const verdict = this.#head && this.#head.judge(pixels, width, height, await this.#vector(images, vectors));
    const { shown, confidence } = doubted(candidates, verdict, plan);
    const [{ text, tokens } = { text: '', tokens: [] }] = shown;
    return { text, confidence, tokens, candidates: shown, kind: verdict?.kind ?? null };
  }

  /**
   * What is decoded of a picture, best first: by the ranker if there is one and the plan asks for it. Captions of every
   * length keep their order, since weights are fitted to those of the usual ones.
   */
  async #ranked(images, plan, vectors) {
    const { decode, every_length: everyOne, noMemory } = plan;
    const found = await (decode === 'parallel' ? this.#refined : this.#searched).call(this, images, plan, vectors);
    if (!this.#ranker?.weights(decode) || everyOne || noMemory || found.length < 2) return found;
    const vector = await this.#vector(images, vectors);
    if (!this.#ranker.fits(vector)) {
      throw new ModelFileError(`${WORDS}: made with vectors of another width than the model's, ${vector.length}`);
    }
    return this.#ranker.order(found, vector, decode);
  }

  /** The picture's vector: from what was run of it; else from a run for it alone. */
  async #vector(images, vectors) {
    if (!vectors.found) await this.#refined(images, this.#plan({ decode: 'parallel' }), vectors);
    return vectors.found;
  }

  /** What the whole graph says of a picture, best first: [{ids, probability, each, sound}]. */
  async #refined(images, plan, vectors) {
    const { Tensor } = this.#ort;
    const { size } = this.manifest.vocabulary;
    const feeds = {
      images,
      length_range: new Tensor('int64', BigInt64Array.of(BigInt(plan.low), BigInt(plan.high)), [2]),
      candidates: new Tensor('int64', BigInt64Array.of(BigInt(plan.decoded)), [1]),
      penalties: new Tensor('float32', new Float32Array(size), [size]),
    };
    const outputs = this.#head || this.#ranker ? [...OUTPUTS, IMAGE_VECTORS] : OUTPUTS;
    const { token_ids, lengths, confidences, token_confidences, ...more } = await this.#session.run(feeds, outputs);
    vectors.found = more[IMAGE_VECTORS]?.data;
    const row = token_ids.dims[2];
    return Array.from(lengths.data, (length, k) => {
      const part = ({ data }) => Array.from(data.slice(k * row, k * row + Number(length)), Number);
      const each = part(token_confidences);
      return { ids: part(token_ids), probability: confidences.data[k], each, sound: true };
    });
  }

  /** What is found from left to right of a picture, best first: [{ids, probability, each, sound}]. */
  async #searched(images, plan, vectors) {
    this.#stepper ??= await this.#openStepper();
    const { pad_id, bos_id: bos, eos_id: eos, mask_id, unk_id } = this.manifest.vocabulary;
    const forbidden = [pad_id, bos, mask_id, unk_id].filter((id) => id !== null); // no such mark
    const { state, vector } = await this.#stepper.encode(images);
    vectors.found ??= vector;
    const { low, high, beams, every_length: everyOne } = plan;
    const asked = { low, high, beams, marks: { bos, eos }, forbidden, noRepeat: NO_REPEAT };
    const found = await (everyOne ? everyLength : beamSearch)(this.#stepper, state, asked);
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

  /** A caption's probability as its confidence: sigmoid(scale * logit(p) + offset), as fitted at export. */
  #confidence(probability) {
    const { scale, offset } = this.manifest.calibration;
    const p = Math.min(Math.max(probability, 1e-6), 1 - 1e-6);
    return 1 / (1 + Math.exp(-Math.min(Math.max(scale * Math.log(p / (1 - p)) + offset, -30), 30)));
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

/** The address of a folder: relative to the page or, in Node, to the working directory. */
function locate(address) {
  const folder = `${address}`.replace(/\/*$/, '/');
  if (globalThis.location) return new URL(folder, location.href);
  return /^(https?|file):/.test(folder) ? new URL(folder) : process.getBuiltinModule('node:url').pathToFileURL(folder);
}

/** A file of a model directory. Its address carries its hash, so that a cache never gives the file of another model. */
async function fetchFile(base, name, stated, progress) {
  if (!stated) throw new ModelFileError(`${base}${MANIFEST}: files.${name} is missing`);
  const url = new URL(`${name}?${stated.sha256.slice(0, 16)}`, base);
  const bytes = await fetchBytes(url, progress, stated.bytes);
  if (bytes.length !== stated.bytes) {
    throw new ModelFileError(`${url}: ${bytes.length} bytes, expected ${stated.bytes}`);
  }
  if (globalThis.crypto?.subtle) {
    const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
    const sha256 = Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join('');
    if (sha256 !== stated.sha256) throw new ModelFileError(`${url}: sha256 is ${sha256}, expected ${stated.sha256}`);
  }
  return bytes;
}

async function fetchBytes(url, progress = null, size = 0) {
  if (url.protocol === 'file:' && globalThis.process) return readBytes(url, progress); // Node fetches no files
  const response = await fetch(url);
  if (!response.ok) throw new ModelFileError(`${url}: status ${response.status}`);
  progress?.expect(size || Number(response.headers.get('Content-Length')));
  const chunks = [];
  for (const reader = response.body.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) break;
    chunks.push(value);
    progress?.arrived(value.length);
  }
  return new Uint8Array(await new Blob(chunks).arrayBuffer());
}

async function readBytes(url, progress) {
  try {
    const bytes = new Uint8Array(await process.getBuiltinModule('node:fs/promises').readFile(url));
    progress?.expect(bytes.length);
    progress?.arrived(bytes.length);
    return bytes;
  } catch (error) {
    throw new ModelFileError(`${url}: ${error.message}`);
  }
}

/** Adds up what several downloads have brought. */
class Progress {
  #report;
  #total = 0;
  #loaded = 0;

  constructor(report) {
    this.#report = report;
  }

  expect(bytes) {
    this.#total += bytes;
  }

  arrived(bytes) {
    this.#loaded += bytes;
    if (this.#total) this.#report(Math.min(1, this.#loaded / this.#total));
  }
}
