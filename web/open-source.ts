/** Opens the files of a model, wherever they come from; what is missing is fetched first. */
import type { ByteSource, ModelFiles } from '../src/index.ts'
import { blobSource } from './blob-source.ts'
import type { Manifest, ModelSource } from './protocol.ts'
import { type Fetching, fetchFile } from './store.ts'
import { fetchUnknown, nameOf } from './unknown.ts'

export interface OpenSource {
  readonly files: ModelFiles
  readonly predictor: ByteSource | undefined
  /** True if the files are stored for the next visit; otherwise the reason why not. */
  readonly kept: true | string
  /** The manifest of a model that came from an address. */
  readonly found?: Manifest
  /** Close functions of files that stay open until they have been read. */
  readonly closing: readonly (() => void)[]
}

/** Rejects with what `fetchFile` and `fetchUnknown` reject with. */
export async function openSource(source: ModelSource, fetching: Fetching): Promise<OpenSource> {
  if (source.kind === 'picked') {
    const files = new Map(source.files.map((file) => [file.name, file]))
    return {
      files: filesOf('picked', files.keys(), (name) => blobSource(name, files.get(name)!)),
      predictor: undefined,
      kept: 'you picked the file; pick it again next time',
      closing: [],
    }
  }
  if (source.kind === 'address') return openAddress(new URL(source.url), fetching)
  const { manifest, base } = source
  const offered = [...manifest.files, ...(manifest.predictor ? [manifest.predictor] : [])]
  const total = offered.reduce((sum, { bytes }) => sum + bytes, 0)
  let before = 0
  let kept: true | string = true
  const sources = new Map<string, ByteSource>()
  const closing: (() => void)[] = []
  const onProgress: Fetching['onProgress'] = (stage, done) => fetching.onProgress(stage, before + done, total)
  for (const file of offered) {
    const fetched = await fetchFile(file, { ...fetching, base, onProgress }).catch((error) => {
      for (const close of closing) close()
      throw error
    })
    if (fetched.close) closing.push(fetched.close)
    before += file.bytes
    if (fetched.kept !== true) kept = fetched.kept
    sources.set(file.name, fetched.source)
  }
  const names = manifest.files.map(({ name }) => name)
  return {
    files: filesOf(manifest.name, names, (name) => sources.get(name)!),
    predictor: manifest.predictor && sources.get(manifest.predictor.name),
    kept,
    closing,
  }
}

async function openAddress(url: URL, fetching: Fetching): Promise<OpenSource> {
  const { source, kept, close, bytes, sha256 } = await fetchUnknown(url, fetching)
  const name = nameOf(url)
  return {
    files: filesOf(name, [name], () => source),
    predictor: undefined,
    kept,
    closing: close ? [close] : [],
    found: { name: name.replace(/\.gguf$/i, ''), files: [{ name, url: url.href, bytes, sha256 }] },
  }
}

function filesOf(name: string, files: Iterable<string>, open: (file: string) => ByteSource): ModelFiles {
  return { name, files: [...files], open: async (file) => open(file) }
}
