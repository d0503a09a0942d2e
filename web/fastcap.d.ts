// Types of fastcap.js. They name nothing of the DOM, so that they hold in browsers, workers and Node alike.

/** Anything whose text is an address: a URL. */
export interface Address {
  readonly href: string;
}

/** The upright pixels of a picture as RGBA, such as ImageData or what Node's decoders give. */
export interface Pixels {
  readonly data: Uint8Array | Uint8ClampedArray;
  readonly width: number;
  readonly height: number;
}

/** What `createImageBitmap` takes where there is one: Blob, File, canvas, video, img, ImageBitmap. */
export type BrowserPicture = typeof globalThis extends {
  createImageBitmap: (image: infer Source, ...rest: any[]) => unknown;
}
  ? Source
  : never;

/** A picture that `Captioner.encode` read; it keeps what the network made of it. */
export interface Encoded {
  /** The one that takes it. */
  readonly captioner: Captioner;
  /** RGB at the model's size. */
  readonly pixels: Uint8Array;
}

export type Picture = Pixels | BrowserPicture | Encoded;

/** ONNX Runtime's API: `onnxruntime-web` or `onnxruntime-node`. */
export interface OnnxRuntime {
  readonly InferenceSession: { create(...model: any[]): Promise<any> };
  readonly Tensor: new (...values: any[]) => any;
}

export interface LoadOptions {
  /** Called with the share that has arrived, 0 to 1, of the model and of the runtime. */
  onProgress?: (share: number) => void;
  /** For the network; more than 1 needs a cross-origin isolated page or `onnxruntime-node`. */
  threads?: number;
  /** By default the one in `vendor/`. */
  ort?: OnnxRuntime;
  /** The address of `vendor/`, where a bundler left it behind or another host has it. */
  vendor?: string | Address;
}

export type Decode = 'parallel' | 'greedy' | 'beam';

export interface CaptionOptions {
  /** By default 'normal'; a number is one of words. */
  length?: 'short' | 'normal' | 'long' | number;
  /** How many different wordings to return at most; 1 by default. */
  candidates?: number;
  /** Say nothing of anybody's gender. */
  neutral?: boolean;
  /** One of the captioner's `decodes`; by default the first, and 'beam' for a length other than 'normal'. */
  decode?: Decode;
  /** Hypotheses that beam search keeps, 1 to 8; 3 by default. */
  beams?: number;
  /** A caption whose confidence is lower has no text and no candidates; 0 by default. */
  minConfidence?: number;
  /** A caption whose confidence is lower, and any of what is no photo, begins with "Maybe: "; 0 by default: none. */
  hedge?: number;
  /** Candidates stay as the network orders them, also where the model has words of pictures to rank them by. */
  noMemory?: boolean;
}

/** What a picture is. */
export type Kind = 'photo' | 'blank' | 'text' | 'screen' | 'chart' | 'drawing';

/** A piece of a caption with the probability that the model gave it. */
export interface Token {
  readonly text: string;
  readonly confidence: number;
}

export interface Candidate {
  readonly text: string;
  /** 0 to 1: about the share of the content words that people would use as well. */
  readonly confidence: number;
  readonly tokens: readonly Token[];
}

export interface Caption extends Candidate {
  /** The wordings, best first; the first is the caption itself. */
  readonly candidates: readonly Candidate[];
  readonly milliseconds: number;
  /** Of what is no photo the confidence is lowered; null where the model cannot tell. */
  readonly kind: Kind | null;
}

export interface AskOptions {
  /** Hypotheses of an answer, 1 to 8; 1 by default. */
  beams?: number;
}

export interface Answer {
  readonly question: string;
  readonly text: string;
  /** 0 to 1: about the share of such answers that are right. */
  readonly confidence: number;
  /** Questions that were asked together share the time equally. */
  readonly milliseconds: number;
}

/** What `model.json` says. */
export interface Manifest {
  readonly format: number;
  readonly kind: 'parallel' | 'autoregressive' | 'prefix';
  readonly name: string;
  readonly description: string;
  readonly licence: string;
  readonly preprocessing: { readonly width: number; readonly height: number };
  readonly vocabulary: { readonly size: number } & Readonly<Record<string, number | null>>;
  readonly decoding: {
    readonly min_length: number;
    readonly max_length: number;
    readonly max_candidates: number;
    readonly default_candidates: number;
    readonly lengths: Readonly<Record<'short' | 'normal' | 'long', readonly [number, number]>>;
  };
  readonly calibration: { readonly scale: number; readonly offset: number };
  /** Only of a model that answers questions. */
  readonly questions?: {
    readonly template: string;
    readonly tokens: number;
    readonly scale: number;
    readonly offset: number;
  };
  readonly files: Readonly<Record<string, { readonly bytes: number; readonly sha256: string }>>;
  readonly quality: Readonly<Record<string, unknown>>;
  readonly speed: Readonly<Record<string, unknown>>;
  readonly [more: string]: unknown;
}

/** A loaded model; make one with `load`. Does one job at a time, in the order in which they were asked for. */
export class Captioner {
  private constructor();
  readonly manifest: Manifest;
  /** How the model can decode; the first is what it does at the length 'normal' where nobody asks for another. */
  readonly decodes: readonly Decode[];
  /**
   * Caption one picture, or an array of them; an array of captions comes back, in their order.
   *
   * Throws ImageError for a bad picture, ConfigError for an option out of range.
   */
  caption(pictures: Picture | readonly Picture[], options?: CaptionOptions): Promise<Caption[]>;
  /** Load a picture and run the expensive step of the model, once; `caption` and `ask` take the result in its place. */
  encode(picture: Picture): Promise<Encoded>;
  /**
   * Answer a question about a picture, or an array of up to 1,000, each as if it were asked alone.
   *
   * Throws ConfigError for a question that is none, empty or too long, or a model without `manifest.questions`.
   */
  ask(picture: Picture, question: string, options?: AskOptions): Promise<Answer>;
  ask(picture: Picture, questions: readonly string[], options?: AskOptions): Promise<Answer[]>;
  /** Caption a picture that is already at the model's size: RGB, height * width * 3. */
  captionPixels(pixels: Uint8Array, options?: CaptionOptions): Promise<Caption>;
}

/**
 * Load a model directory below the address `folder`, in Node also a path.
 *
 * Throws ModelFileError, ConfigError for threads that cannot be had, or TypeError where the network fails.
 */
export function load(folder: string | Address, options?: LoadOptions): Promise<Captioner>;

/** A picture that cannot be read. */
export class ImageError extends Error {
  name: 'ImageError';
}

/** A model directory that is damaged or not one; the message names the file. */
export class ModelFileError extends Error {
  name: 'ModelFileError';
}

/** An option out of its range; the message says what is allowed. */
export class ConfigError extends Error {
  name: 'ConfigError';
}
