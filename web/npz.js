// Arrays out of an npz archive, as far as fastcap/runtime/npz.py writes them: what that file's `read_npz` does.

const KINDS = { '|u1': Uint8Array, '|i1': Int8Array, '<f4': Float32Array };
const [END, ENTRY] = [0x06054b50, 0x02014b50]; // how the end of a zip's directory and each entry of it begin

/** {data, shape} of each array of an archive, by its name. Throws an Error for what is none. */
export async function readNpz(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const end = bytes.length - 22; // no comment follows
  if (end < 0 || view.getUint32(end, true) !== END) throw new Error('not an npz archive');
  const arrays = {};
  let at = view.getUint32(end + 16, true);
  for (let left = view.getUint16(end + 10, true); left > 0; left--) {
    if (view.getUint32(at, true) !== ENTRY) throw new Error('not an npz archive');
    const [packed, start] = [view.getUint32(at + 20, true), view.getUint32(at + 42, true)];
    const name = new TextDecoder().decode(bytes.subarray(at + 46, at + 46 + view.getUint16(at + 28, true)));
    const from = start + 30 + view.getUint16(start + 26, true) + view.getUint16(start + 28, true);
    const stream = new Blob([bytes.subarray(from, from + packed)]).stream();
    const unpacked = new Response(stream.pipeThrough(new DecompressionStream('deflate-raw')));
    arrays[name.replace(/\.npy$/, '')] = arrayOf(await unpacked.arrayBuffer(), name);
    at += 46 + [28, 30, 32].reduce((length, field) => length + view.getUint16(at + field, true), 0);
  }
  return arrays;
}

function arrayOf(content, name) {
  const length = new DataView(content).getUint16(8, true);
  const header = new TextDecoder().decode(content.slice(10, 10 + length));
  const [, kind, sizes] = header.match(/'descr': '(.{3})', 'fortran_order': False, 'shape': \(([0-9, ]*)\)/) ?? [];
  if (!Object.hasOwn(KINDS, kind)) throw new Error(`${name} begins with ${header}`);
  const shape = sizes.split(',').filter((size) => size.trim()).map(Number);
  const data = new KINDS[kind](content.slice(10 + length));
  if (data.length !== shape.reduce((one, other) => one * other, 1)) throw new Error(`${name} does not hold ${shape}`);
  return { data, shape };
}
