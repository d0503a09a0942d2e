// Captions of pictures by an unmodified @huggingface/transformers, one JSON object a line: token ids, and milliseconds
// without decoding the file. Standard input: {folder, dtype, threads, pictures}.
import { readFileSync } from 'node:fs';
import { basename, dirname } from 'node:path';

import { AutoModelForImageTextToText, AutoModelForVision2Seq, AutoProcessor, RawImage, env } from '@huggingface/transformers';

const { folder, dtype, threads, pictures } = JSON.parse(readFileSync(0, 'utf8'));
env.allowRemoteModels = false;
env.localModelPath = `${dirname(folder)}/`;
const isLlava = JSON.parse(readFileSync(`${folder}/config.json`, 'utf8')).model_type === 'llava';
const kind = isLlava ? AutoModelForImageTextToText : AutoModelForVision2Seq;
const processor = await AutoProcessor.from_pretrained(basename(folder));
const model = await kind.from_pretrained(basename(folder), { dtype, session_options: { intraOpNumThreads: threads } });
for (const picture of pictures) {
    const image = await RawImage.read(picture);
    const inputs = await (isLlava ? processor(image, '<image>') : processor(image));
    const started = performance.now();
    const [ids] = (await model.generate(isLlava ? inputs : { inputs: inputs.pixel_values })).tolist();
    const milliseconds = Math.round(performance.now() - started);
    console.log(JSON.stringify({ ids: ids.slice(isLlava ? inputs.input_ids.dims[1] : 1).map(Number), milliseconds }));
}
