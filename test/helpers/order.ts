/**
 * The order of the test files: the longest first, so that the last ones are short and all cores
 * finish at about the same time. Files that are not listed come afterwards, as Vitest orders them.
 */
import { fileURLToPath } from 'node:url'
import { BaseSequencer, type TestSpecification } from 'vitest/node'

/** Files that take more than about ten seconds of a core, by that time. */
export const longest = [
  'web/shape-and-tools',
  'backend/webgpu/backend',
  'engine/webgpu',
  'web/page',
  'cli/fit',
  'web/offered',
  'golden/families',
  'cli/cli',
  'web/endpoint',
  'edge/worker',
  'cli/eval',
  'prefill/predicted',
  'web/trouble',
  'web/models',
  'web/resume',
  'companion/ways',
  'engine/careless-fields',
  'docs',
  'web/gpu',
  'web/offline',
  'web/ort-webgpu',
  'engine/verified',
  'cli/ttft',
  'onnx/engine',
  'cli/onnx',
  'edge/python-clients',
  'edge/clients',
  'edge/workerd-clients',
  'companion/pauses',
  'web/address',
  'cli/exit',
  'docs/package',
  'golden/embeddings',
  'prefill/separate',
  'model/recipe',
  'cli/input',
  'cli/bench',
  'engine/longrope',
  'engine/soak',
  'engine/memory',
  'edge/fields',
  'node/download-faults',
  'node/versions',
  'web/older',
  'bench/benches',
]

const rank = new Map(longest.map((name, at) => [testFile(name), at]))

/** Returns the path of a listed file. */
export function testFile(name: string): string {
  return fileURLToPath(new URL(`../${name}.test.ts`, import.meta.url))
}

export class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const place = ({ moduleId }: TestSpecification) => rank.get(moduleId) ?? longest.length
    return (await super.sort(files)).sort((a, b) => place(a) - place(b))
  }
}
