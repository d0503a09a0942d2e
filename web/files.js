// The files of a model directory, from a server or, in Node, from a folder.

import { MANIFEST } from './contract.js';
import { ModelFileError } from './errors.js';

/** The address of a folder: relative to the page or, in Node, to the working directory. */
export function locate(address) {
  const folder = `${address}`.replace(/\/*$/, '/');
  if (globalThis.location) return new URL(folder, location.href);
  return /^(https?|file):/.test(folder) ? new URL(folder) : process.getBuiltinModule('node:url').pathToFileURL(folder);
}

/** The address of a file of a model directory. It carries its hash, so that a cache never gives that of another model. */
export function addressOf(base, name, stated) {
  return new URL(`${name}?${stated.sha256.slice(0, 16)}`, base);
}

/** A file of a model directory, compared with what its manifest states. */
export async function fetchFile(base, name, stated, progress) {
  if (!stated) throw new ModelFileError(`${base}${MANIFEST}: files.${name} is missing`);
  const url = addressOf(base, name, stated);
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

export async function fetchBytes(url, progress = null, size = 0) {
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
export class Progress {
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
