/** Gathers what is imported to open the first ONNX model, so that a bundler makes one file of it. */
export { checkContext, externalOf, onnxFile, readFolder, whole } from './folder.ts'
export { isEncoder, OrtModel, openSession } from './session.ts'
