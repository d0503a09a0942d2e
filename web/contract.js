// Written by scripts/web_constants.py out of src/fastcap/runtime/contract.py and the modules beside it.

export const FORMAT = 2;
export const MANIFEST = 'model.json';
export const TOKENIZER = 'tokenizer.json';
export const MODEL = 'model.onnx';
export const PHOTO = 'photo.json';
export const WORDS = 'words.npz';
export const PICTURES = ['photo', 'blank', 'text', 'screen', 'chart', 'drawing'];
export const IMAGE_VECTORS = 'image_vectors';
export const OUTPUTS = ['token_ids', 'lengths', 'confidences', 'token_confidences'];
export const KINDS = {
  'parallel': {
    'graphs': ['model.onnx'],
    'decodes': ['parallel', 'greedy', 'beam', 'sample'],
    'left_to_right': ['encode.onnx', 'step.onnx']
  },
  'autoregressive': {
    'graphs': ['encode.onnx', 'step.onnx'],
    'decodes': ['beam', 'greedy', 'sample'],
    'left_to_right': ['encode.onnx', 'step.onnx']
  },
  'prefix': {
    'graphs': ['vision_encoder.onnx', 'projection.onnx', 'prefix_init.onnx', 'language_model.onnx'],
    'decodes': ['beam', 'greedy', 'sample'],
    'left_to_right': ['vision_encoder.onnx', 'projection.onnx', 'prefix_init.onnx', 'language_model.onnx']
  }
};
export const BEFORE = {
  'tokens_before': 'image_tokens',
  'map_before': 'carry'
};
export const PLACE = '{question}';
export const IMAGE_MARK = '<image>';
export const MAX_QUESTION = 1000;
export const MAX_QUESTIONS = 1000;
export const TOGETHER = 16;
export const FEW = 4;
export const USUAL = {
  'length': 'normal',
  'candidates': 1,
  'neutral': false,
  'beams': 3,
  'min_confidence': 0.0,
  'hedge': 0.0,
  'no_memory': false
};
export const MAX_BEAMS = 8;
export const WORD_SPREAD = 4;
export const SHORT = 7;
export const LENGTH_BEAMS = 16;
export const NO_REPEAT = 2;
export const LEAST_TOKEN = 0.02;
export const LEAST_END = 0.001;
export const LENGTH_PENALTY = 0.7;
