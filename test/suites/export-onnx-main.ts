/** Runs `npm run export:onnx`; started by scripts/export-onnx.mjs. */
import { defaultModel, modelFiles } from '../../node/index.ts'
import { openModel } from '../../src/model/open.ts'
import { writeOnnxFolder } from '../helpers/onnx-folder.ts'

const [first, second] = process.argv.slice(2)
const [model, folder] = second === undefined ? [defaultModel, first] : [first!, second]
if (folder === undefined) {
  console.error('usage: npm run export:onnx -- [MODEL] FOLDER')
  process.exit(2)
}
const files = await modelFiles(model)
try {
  const archive = await openModel(files)
  const bytes = await writeOnnxFolder(folder, archive)
  console.log(`${folder}: ${archive.name} as ONNX, f32, ${Math.round(bytes / 1e6)} MB`)
} finally {
  await files.close()
}
