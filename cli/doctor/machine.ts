/** Checks what a model computes with: the runtime, WebAssembly, the CPU, memory, the GPU. */
import { aliases, asForetokenError, defaultModel } from '../../node/index.ts'
import { size } from '../terminal.ts'
import type { Check, Finding } from './check.ts'
import type { Host } from './host.ts'

/** The oldest supported Node version, as in package.json. */
export const oldestNode = [20, 19] as const

/**
 * Bytes for Node, the core and a short conversation: 154 MB were measured with the default model.
 */
const besideWeights = 160e6

/** Bytes of memory that the default model needs. */
export const memoryNeeded = aliases[defaultModel]!.bytes + besideWeights

export function machineChecks(host: Host): Check[] {
  return [
    { name: 'runtime', run: () => runtimeFinding(host) },
    { name: 'simd', failed: 'missing', run: () => simdFinding(host) },
    { name: 'relaxed simd', run: () => relaxedFinding(host) },
    { name: 'threads', run: () => threadsFinding(host) },
    { name: 'core', failed: 'missing', run: () => coreFinding(host) },
    { name: 'cpu', run: () => cpuFinding(host) },
    { name: 'memory', run: () => memoryFinding(host) },
    { name: 'gpu', limitMs: 8000, failed: 'note', run: (signal) => gpuFinding(host, signal) },
  ]
}

function runtimeFinding({ runtime: { name, version } }: Host): Finding {
  const found = `${name} ${version}`
  if (name !== 'Node') return { verdict: 'note', found, next: 'the command is tested on Node' }
  const [major = 0, minor = 0] = version.split('.').map(Number)
  const [oldest, oldestMinor] = oldestNode
  if (major > oldest || (major === oldest && minor >= oldestMinor)) return { verdict: 'ok', found }
  return { verdict: 'missing', found, next: `install Node ${oldestNode.join('.')} or newer from https://nodejs.org` }
}

async function simdFinding(host: Host): Promise<Finding> {
  try {
    await host.core('simd128', false)
    return { verdict: 'ok', found: 'WebAssembly SIMD runs' }
  } catch (error) {
    const { message } = asForetokenError(error)
    return { verdict: 'missing', found: message, next: 'use Node 20.19 or newer on a 64-bit CPU with SIMD' }
  }
}

async function relaxedFinding(host: Host): Promise<Finding> {
  try {
    const { lowering } = await host.core('relaxed', false)
    const operands = ['of 7 bits', 'unsigned', 'signed'][lowering] ?? 'unknown'
    return { verdict: 'ok', found: `the dot product gives known answers; its second operand is ${operands}` }
  } catch {
    const found = 'absent, or its dot product gives wrong sums'
    return { verdict: 'warning', found, next: 'prompts take longer; Node 22 or newer has it' }
  }
}

async function threadsFinding(host: Host): Promise<Finding> {
  if (!host.sharedMemory)
    return { verdict: 'warning', found: 'no SharedArrayBuffer', next: 'the model runs on one thread; use --threads 1' }
  try {
    await host.core('auto', true)
    return { verdict: 'ok', found: 'SharedArrayBuffer and shared WebAssembly memory' }
  } catch (error) {
    return { verdict: 'warning', found: asForetokenError(error).message, next: 'use --threads 1' }
  }
}

async function coreFinding(host: Host): Promise<Finding> {
  const { threads } = host.cpu
  const threaded = threads > 1 && host.sharedMemory
  const { build } = await host.core('auto', threaded)
  const found = `wasm-${build}${threaded ? `-${threads}t` : ''} is what "auto" chooses`
  return { verdict: 'ok', found, next: '--threads and --build change it' }
}

function cpuFinding({ cpu: { model, logical, fast, threads } }: Host): Finding {
  const found = `${model}: ${logical} logical CPUs, ${fast} fast cores, ${threads} compute ${threads === 1 ? 'thread' : 'threads'}`
  if (threads > 1) return { verdict: 'ok', found }
  return { verdict: 'note', found, next: 'more cores make prompts faster' }
}

function memoryFinding(host: Host): Finding {
  const { total, available } = host.memory()
  const found = `${size(available)} of ${size(total)} free; ${defaultModel} needs about ${size(memoryNeeded)}`
  if (total < memoryNeeded)
    return { verdict: 'missing', found, next: 'raise the memory limit, or use a larger machine' }
  if (available >= memoryNeeded) return { verdict: 'ok', found }
  return { verdict: 'warning', found, next: 'close other programs, or lower --context' }
}

async function gpuFinding(host: Host, signal: AbortSignal): Promise<Finding> {
  const facts = await host.gpu(signal)
  if (facts === undefined)
    return { verdict: 'note', found: 'the package webgpu is not installed', next: 'optional: npm install webgpu' }
  if ('adapter' in facts) return { verdict: 'ok', found: facts.adapter, next: 'use it with --backend webgpu' }
  return { verdict: 'note', found: facts.problem, next: 'optional: install a Vulkan driver; the CPU works without it' }
}
