// Any picture a browser can read, as the uint8 RGB pixels that the graph takes: what fastcap/runtime/images.py does.
//
// A canvas would shrink a picture in its own way, differently in each browser. So only decoding is left to the browser;
// shrinking is Pillow's, in its integer arithmetic, and gives the very pixels that Python gets. Turning is ours as well:
// which formats a browser turns, as EXIF says, differs too, so it gets them without it (metadata.js).

import { strip } from './metadata.js';

const STRIPE_PIXELS = 4e6; // read at a time: a 100-megapixel photo need not fit in a canvas, nor twice into memory
const REDUCING_GAP = 2; // box-shrink large pictures first, to twice the target
const PRECISION_BITS = 22; // of Pillow's fixed-point weights
const HALF = 1 << (PRECISION_BITS - 1);

const ALLOWED = 32; // a row in so many may be missing of a JPEG, or those of one block
const BLOCK = 17; // rows: 16, and one that is mixed with those below
const SHOWN = 'JPEG, PNG, WebP, GIF, BMP and AVIF'; // by every browser that runs this
// Formats that hardly a browser shows, by how their files begin.
const OTHERS = {
  'II*\0': 'TIFF',
  'MM\0*': 'TIFF',
  'II+\0': 'TIFF',
  'MM\0+': 'TIFF',
  '\0\0\0\x0cJXL ': 'JPEG XL',
  '\xff\x0a': 'JPEG XL',
  '\0\0\0\x0cjP  ': 'JPEG 2000',
  '\xff\x4f\xff\x51': 'JPEG 2000',
  '8BPS': 'PSD',
  '%PDF-': 'PDF',
};
const HEIC = /^....ftyp(?!.*avi[fs]).*(hei[cxms]|hev[cxms]|mif1|msf1)/s; // AVIF is of the same kind, and shown

/** A picture that cannot be read. */
export class ImageError extends Error {
  name = 'ImageError';
}

/**
 * Read one picture and squash it to `width` x `height`, its aspect not kept.
 *
 * `source`: a Blob or File in any format that the browser decodes, or anything else that `createImageBitmap` takes
 * (canvas, video, ImageBitmap, <img>); or {data, width, height}, RGBA in a Uint8Array or Uint8ClampedArray, as ImageData
 * is, which needs no browser. Orientation and colour profile are obeyed, transparency lies on white, an animation gives
 * its first frame.
 *
 * Returns a Uint8Array (height * width * 3), RGB. Throws ImageError.
 */
export async function loadImage(source, width, height) {
  const name = source.name ?? `<${source.constructor?.name ?? typeof source}>`;
  if (source.data instanceof Uint8Array || source.data instanceof Uint8ClampedArray) {
    return resize(onWhite(source, name), width, height);
  }
  if (!globalThis.createImageBitmap) {
    throw new ImageError(`${name}: nothing here decodes pictures; give {data, width, height}, the pixels as RGBA`);
  }
  const { file, orientation } = source instanceof Blob ? await strip(source) : { file: source, orientation: 1 };
  // Python turns a picture after resizing it.
  const [w, h] = orientation > 4 ? [height, width] : [width, height];
  let picture;
  try {
    picture = await decode(await withEnd(file), w, h);
  } catch (error) {
    const format = source instanceof Blob ? await formatOf(source) : '';
    if (format) throw new ImageError(`${name}: ${format}, which this browser does not show; allowed are ${SHOWN}`);
    throw new ImageError(`${name}: not a picture that this browser can read (${error.message})`);
  }
  try {
    return turned(resize(read(picture), w, h), w, h, orientation);
  } finally {
    picture.frame.close();
  }
}

/**
 * A JPEG without its end mark with one, if next to nothing of its pixels is missing; everything else as it is.
 *
 * What fastcap/runtime/endings.py does: a decoder makes the same of a whole file whatever follows it.
 */
async function withEnd(source) {
  if (!(source instanceof Blob)) return source;
  const bytes = new Uint8Array(await source.arrayBuffer());
  const isJpeg = bytes[0] === 0xff && bytes[1] === 0xd8;
  if (!isJpeg || hasEnd(bytes)) return source;
  let size = bytes.length;
  while (bytes[size - 1] === 0 && bytes.at(-16) === 0) size -= 1; // reserved in full, and written in part
  if (bytes[size - 1] === 0xff) size -= 1;
  const [data, end] = [bytes.subarray(0, size), Uint8Array.of(0xff, 0xd9)];
  const filler = Uint8Array.from({ length: 4096 }, (_, at) => 1 + ((7 * at * at + Math.floor(at / 3)) % 253));
  const whole = new Blob([data, end], { type: source.type });
  const [ours, longer] = await Promise.all([whole, new Blob([data, filler, end])].map(rgba));
  const differs = ours.data.findIndex((value, at) => value !== longer.data[at]);
  const missing = differs < 0 ? 0 : ours.height - Math.floor(differs / (4 * ours.width));
  return missing <= Math.max(BLOCK, ours.height / ALLOWED) && missing < ours.height ? whole : source;
}

function hasEnd(bytes) {
  let at = bytes.lastIndexOf(0xd9);
  while (at > 0 && bytes[at - 1] !== 0xff) at = bytes.lastIndexOf(0xd9, at - 1);
  return at > 0;
}

/** The pixels of a picture: {data: RGBA, width, height}. */
async function rgba(blob) {
  const frame = await createImageBitmap(blob);
  const picture = read({ frame, width: frame.width, height: frame.height, shrink: 1 });
  frame.close();
  return picture;
}

/**
 * {frame, width, height, shrink}: what a canvas can draw, its size, and by how much it is yet to be shrunk.
 *
 * Python has the JPEG decoder shrink by 8, 4 or 2 while it decodes, which is cheap. A browser whose ImageDecoder does
 * so too gives the same pixels; elsewhere the whole picture is decoded, and the means of its pixels differ by a level
 * here and there.
 */
async function decode(source, width, height) {
  const bytes = source instanceof Blob ? new Uint8Array(await source.arrayBuffer()) : new Uint8Array();
  const size = jpegSize(bytes);
  const room = size && Math.min(Math.floor(size.width / width), Math.floor(size.height / height));
  const shrink = [8, 4, 2].find((scale) => room >= scale) ?? 1;
  if (shrink > 1 && globalThis.ImageDecoder) {
    const [desiredWidth, desiredHeight] = [Math.ceil(size.width / shrink), Math.ceil(size.height / shrink)];
    const decoder = new ImageDecoder({ data: bytes, type: 'image/jpeg', desiredWidth, desiredHeight });
    const { image: frame } = await decoder.decode();
    decoder.close();
    const isShrunk = frame.displayWidth * frame.displayHeight <= desiredWidth * desiredHeight;
    return { frame, width: frame.displayWidth, height: frame.displayHeight, shrink: isShrunk ? 1 : shrink };
  }
  const frame = await createImageBitmap(source);
  return { frame, width: frame.width, height: frame.height, shrink };
}

/** What a file is that a browser did not decode, by its first bytes; "" if nothing is known of it. */
async function formatOf(blob) {
  const head = Array.from(new Uint8Array(await blob.slice(0, 64).arrayBuffer()), (code) => String.fromCharCode(code)).join('');
  if (HEIC.test(head)) return 'HEIC';
  return Object.entries(OTHERS).find(([start]) => head.startsWith(start))?.[1] ?? '';
}

/** Width and height as the header of a JPEG file states them; null for other files. */
function jpegSize(bytes) {
  const view = new DataView(bytes.buffer);
  if (bytes.length < 4 || view.getUint16(0) !== 0xffd8) return null;
  let at = 2;
  while (at + 9 <= bytes.length) {
    const marker = view.getUint16(at);
    const isFrame = marker >= 0xffc0 && marker <= 0xffcf && ![0xffc4, 0xffc8, 0xffcc].includes(marker);
    if (isFrame) return { width: view.getUint16(at + 7), height: view.getUint16(at + 5) };
    if (marker < 0xff01) return null;
    at += marker === 0xffff ? 1 : 2 + view.getUint16(at + 2); // 0xff may be repeated before a marker
  }
  return null;
}

/** The pixels of a picture on white, shrunk by a whole number: {data: RGBA, width, height}. */
function read({ frame, width, height, shrink }) {
  const rows = Math.min(height, Math.max(1, Math.floor(STRIPE_PIXELS / width / shrink)) * shrink);
  const canvas = new OffscreenCanvas(width, rows);
  const context = canvas.getContext('2d', { willReadFrequently: true });
  context.fillStyle = 'white';
  const small = { width: Math.ceil(width / shrink), height: Math.ceil(height / shrink) };
  small.data = new Uint8ClampedArray(4 * small.width * small.height);
  for (let top = 0; top < height; top += rows) {
    const count = Math.min(rows, height - top);
    context.fillRect(0, 0, width, count);
    context.drawImage(frame, 0, top, width, count, 0, 0, width, count);
    const stripe = reduce(context.getImageData(0, 0, width, count), shrink, shrink);
    small.data.set(stripe.data, (4 * small.width * top) / shrink);
  }
  return small;
}

/** {data: RGBA, width, height} without its transparency. Throws ImageError where there are not as many bytes. */
function onWhite({ data, width, height }, name) {
  const isSize = [width, height].every((side) => Number.isInteger(side) && side > 0);
  if (!isSize || data.length !== 4 * width * height) {
    throw new ImageError(`${name}: ${data.length} bytes for ${width}x${height} pixels; expected 4 a pixel, RGBA`);
  }
  const opaque = new Uint8Array(data);
  for (let at = 0; at < data.length; at += 4) {
    const opacity = data[at + 3];
    if (opacity === 255) continue;
    for (let c = at; c < at + 3; c++) opaque[c] = Math.round((data[c] * opacity + 255 * (255 - opacity)) / 255);
  }
  return { data: opaque, width, height };
}

/** Means of `fx` x `fy` pixels, fewer at the right and lower edge; Pillow's `Image.reduce`. */
export function reduce(image, fx, fy) {
  if (fx === 1 && fy === 1) return image;
  const width = Math.ceil(image.width / fx);
  const height = Math.ceil(image.height / fy);
  const from = image.data;
  const data = new Uint8ClampedArray(4 * width * height);
  for (let y = 0; y < height; y++) {
    const bottom = Math.min((y + 1) * fy, image.height);
    for (let x = 0; x < width; x++) {
      const right = Math.min((x + 1) * fx, image.width);
      let r = 0;
      let g = 0;
      let b = 0;
      for (let row = y * fy; row < bottom; row++) {
        let at = 4 * (row * image.width + x * fx);
        for (let column = x * fx; column < right; column++, at += 4) {
          r += from[at];
          g += from[at + 1];
          b += from[at + 2];
        }
      }
      const count = (bottom - y * fy) * (right - x * fx);
      const half = count >> 1;
      const share = Math.trunc(Math.fround(2 ** 24 / count)); // Pillow multiplies by a rounded reciprocal
      const at = 4 * (y * width + x);
      data[at] = Math.floor(((r + half) * share) / 2 ** 24);
      data[at + 1] = Math.floor(((g + half) * share) / 2 ** 24);
      data[at + 2] = Math.floor(((b + half) * share) / 2 ** 24);
    }
  }
  return { data, width, height };
}

/**
 * Pillow's `resize((width, height), BILINEAR, reducing_gap=2)` of {data: RGBA, width, height}; opacity is not read.
 *
 * Returns a Uint8Array (height * width * 3), RGB.
 */
export function resize(image, width, height) {
  const fx = Math.max(1, Math.floor(image.width / width / REDUCING_GAP));
  const fy = Math.max(1, Math.floor(image.height / height / REDUCING_GAP));
  const [boxWidth, boxHeight] = [Math.fround(image.width / fx), Math.fround(image.height / fy)];
  const source = reduce(image, fx, fy);
  const across = weights(source.width, boxWidth, width);
  const down = weights(source.height, boxHeight, height);
  const wide = new Uint8Array(3 * width * source.height);
  for (let y = 0; y < source.height; y++) {
    for (let x = 0; x < width; x++) {
      mix(source.data, 4 * y * source.width, 4, across[x], wide, 3 * (y * width + x));
    }
  }
  const pixels = new Uint8Array(3 * width * height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      mix(wide, 3 * x, 3 * width, down[y], pixels, 3 * (y * width + x));
    }
  }
  return pixels;
}

/** Upright RGB of `width` x `height` pixels that lie as `orientation` says, 1 to 8 as in EXIF. */
function turned(pixels, width, height, orientation) {
  if (orientation === 1) return pixels;
  const isSideways = orientation > 4;
  const [outWidth, outHeight] = isSideways ? [height, width] : [width, height];
  const fromRight = [2, 3, 7, 8].includes(orientation);
  const fromBottom = [3, 4, 6, 7].includes(orientation);
  const upright = new Uint8Array(pixels.length);
  for (let y = 0, at = 0; y < outHeight; y++) {
    for (let x = 0; x < outWidth; x++, at += 3) {
      const [column, row] = isSideways ? [y, x] : [x, y];
      const from = 3 * ((fromBottom ? height - 1 - row : row) * width + (fromRight ? width - 1 - column : column));
      for (let c = 0; c < 3; c++) upright[at + c] = pixels[from + c];
    }
  }
  return upright;
}

/** One pixel of `into` from those that lie `step` apart in `from`. */
function mix(from, start, step, { first, parts }, into, at) {
  let r = HALF;
  let g = HALF;
  let b = HALF;
  for (let i = 0, place = start + step * first; i < parts.length; i++, place += step) {
    r += from[place] * parts[i];
    g += from[place + 1] * parts[i];
    b += from[place + 2] * parts[i];
  }
  into[at] = r >> PRECISION_BITS;
  into[at + 1] = g >> PRECISION_BITS;
  into[at + 2] = b >> PRECISION_BITS;
}

/** For each of `count` outputs the pixels it is mixed from: a triangle over the first `box` of `size` inputs. */
function weights(size, box, count) {
  const scale = box / count;
  const support = Math.max(scale, 1);
  return Array.from({ length: count }, (_, index) => {
    const center = (index + 0.5) * scale;
    const first = Math.max(0, Math.trunc(center - support + 0.5));
    const last = Math.min(size, Math.trunc(center + support + 0.5));
    const parts = [];
    for (let x = first; x < last; x++) parts.push(Math.max(0, 1 - Math.abs((x - center + 0.5) / support)));
    const sum = parts.reduce((total, part) => total + part, 0);
    return { first, parts: Int32Array.from(parts, (part) => Math.trunc((part / sum) * 2 ** PRECISION_BITS + 0.5)) };
  });
}
