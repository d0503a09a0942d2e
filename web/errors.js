// What can be wrong but for a picture; that is images.js.

/** A model directory that is damaged or not one; the message names the file. */
export class ModelFileError extends Error {
  name = 'ModelFileError';
}

/** An option out of its range; the message says what is allowed. */
export class ConfigError extends Error {
  name = 'ConfigError';
}
