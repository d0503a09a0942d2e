// A picture file without its metadata, and its orientation: what fastcap/runtime/metadata.py does, for what browsers read.

const PNG_PIXELS = ['IHDR', 'PLTE', 'tRNS', 'iCCP', 'IDAT', 'IEND'];
const IEND = Uint8Array.of(0, 0, 0, 0, 0x49, 0x45, 0x4e, 0x44, 0xae, 0x42, 0x60, 0x82); // the end of a PNG
const WEBP_PIXELS = ['VP8 ', 'VP8L', 'ALPH', 'ANMF'];
const NUMBERS = { 1: 'getUint8', 3: 'getUint16', 4: 'getUint32' }; // types of values in a TIFF
const ORIENTATION = 0x0112;

/**
 * {file, orientation} of a Blob: what to decode, which no browser turns, and 1 to 8, as EXIF numbers them.
 *
 * AVIF and HEIF tell their orientation to the decoder, and every browser obeys.
 */
export async function strip(blob) {
  const bytes = new Uint8Array(await blob.arrayBuffer());
  const stated = { exif: null, xmp: '' };
  let parts = [bytes];
  if (hasText(bytes, 0, '\xff\xd8\xff')) parts = jpeg(bytes, stated);
  else if (hasText(bytes, 0, '\x89PNG\r\n\x1a\n')) parts = await png(bytes, stated);
  else if (hasText(bytes, 0, 'RIFF') && hasText(bytes, 8, 'WEBP')) parts = webp(bytes, stated);
  return { file: new Blob(parts, { type: blob.type }), orientation: orientation(stated) };
}

function jpeg(bytes, stated) {
  const kept = [bytes.subarray(0, 2)];
  let at = 2;
  for (;;) {
    at = bytes.indexOf(0xff, at); // past junk, as decoders do
    if (at < 0 || at + 4 > bytes.length) break;
    const marker = bytes[at + 1];
    const size = (bytes[at + 2] << 8) | bytes[at + 3];
    if (marker === 0xff || marker === 0) at += 1; // padding
    else if ((marker >= 0xd0 && marker <= 0xda) || size < 2 || at + 2 + size > bytes.length) break; // the pixels, or damage
    else {
      const body = bytes.subarray(at + 4, at + 2 + size);
      if (marker !== 0xe1) kept.push(bytes.subarray(at, at + 2 + size));
      else if (hasText(body, 0, 'Exif\0\0')) stated.exif ??= body.subarray(6);
      else if (hasText(body, 0, 'http://ns.adobe.com/xap/1.0/\0')) stated.xmp ||= text(body);
      at += 2 + size;
    }
  }
  return at < 0 ? kept : [...kept, bytes.subarray(at)];
}

async function png(bytes, stated) {
  const kept = [bytes.subarray(0, 8)];
  const view = new DataView(bytes.buffer);
  let at = 8;
  while (at + 12 <= bytes.length) {
    const name = text(bytes.subarray(at + 4, at + 8));
    const end = at + 12 + view.getUint32(at);
    if (!/^[a-z]{4}$/i.test(name)) break; // damage
    const body = bytes.subarray(at + 8, end - 4);
    if (PNG_PIXELS.includes(name)) kept.push(bytes.subarray(at, end));
    else if (name === 'eXIf') stated.exif = hasText(body, 0, 'Exif\0\0') ? body.subarray(6) : body;
    else if (name === 'iTXt' && hasText(body, 0, 'XML:com.adobe.xmp\0')) {
      const [isPacked, start] = [body[18], body.indexOf(0, body.indexOf(0, 20) + 1) + 1];
      stated.xmp = isPacked ? await unpacked(body.subarray(start)) : text(body.subarray(start));
    } else if (name === 'zTXt' && hasText(body, 0, 'Raw profile type exif\0') && !stated.exif) {
      const digits = (await unpacked(body.subarray(23))).split('\n').slice(3).join('');
      const exif = Uint8Array.from(digits.match(/[0-9a-f]{2}/gi) ?? [], (pair) => parseInt(pair, 16));
      stated.exif = hasText(exif, 0, 'Exif\0\0') ? exif.subarray(6) : exif;
    }
    if (name === 'IEND') return kept;
    at = end;
  }
  if (at < bytes.length || text(kept.at(-1).subarray(4, 8)) !== 'IDAT') return [...kept, bytes.subarray(at)];
  return [...kept, IEND]; // which browsers miss
}

function webp(bytes, stated) {
  const renamed = bytes.slice();
  const view = new DataView(bytes.buffer);
  let at = 12;
  let end = at;
  while (at + 8 <= bytes.length) {
    const name = text(bytes.subarray(at, at + 4));
    const size = view.getUint32(at + 4, true);
    const body = bytes.subarray(at + 8, at + 8 + size);
    if (hasText(bytes, at, 'EXIF')) {
      stated.exif = hasText(body, 0, 'Exif\0\0') ? body.subarray(6) : body;
      renamed.set([0x6e, 0x6f, 0x6e, 0x65], at); // decoders pass by a chunk of another name
    } else if (hasText(bytes, at, 'XMP ')) stated.xmp = text(body);
    at += 8 + size + (size % 2);
    if (at <= bytes.length + 1 || WEBP_PIXELS.includes(name)) end = at;
  }
  new DataView(renamed.buffer).setUint32(4, end - 8, true); // the size that a file states of itself may be wrong
  const missing = end - bytes.length; // 1 of a file without its last padding; more is cut short
  return [renamed.subarray(0, end), new Uint8Array(missing === 1 ? 1 : 0)];
}

function orientation({ exif, xmp }) {
  let stated = Number(xmp.match(/tiff:Orientation(?:="|>)([1-8])/)?.[1] ?? 1);
  try {
    const view = new DataView(exif.buffer, exif.byteOffset, exif.byteLength);
    const isLittle = hasText(exif, 0, 'II');
    const start = view.getUint32(4, isLittle);
    const count = view.getUint16(start, isLittle);
    for (let at = start + 2; at < start + 2 + 12 * count; at += 12) {
      if (view.getUint16(at, isLittle) !== ORIENTATION) continue;
      stated = view[NUMBERS[view.getUint16(at + 2, isLittle)]](at + 8, isLittle);
      break;
    }
  } catch {
    // No EXIF, or one that is none: what XMP says counts.
  }
  return stated >= 1 && stated <= 8 ? stated : 1;
}

async function unpacked(bytes) {
  try {
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('deflate'));
    return text(new Uint8Array(await new Response(stream).arrayBuffer()));
  } catch {
    return '';
  }
}

function hasText(bytes, at, wanted) {
  return [...wanted].every((letter, index) => bytes[at + index] === letter.charCodeAt(0));
}

function text(bytes) {
  return new TextDecoder('latin1').decode(bytes);
}
