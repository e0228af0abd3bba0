/** A Chromium for the page's tests, and the software Vulkan that Debian packs with it for WebGPU's. */
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'

const usual = [
  '/usr/bin/chromium',
  '/usr/bin/google-chrome',
  '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
  '/Applications/Chromium.app/Contents/MacOS/Chromium',
]

/** Path of a Chromium: $CHROMIUM, a usual place, or Debian's, installed now. Throws with what to do where there is none. */
export function chromium() {
  return foundChromium() ?? install(usual[0])
}

/** Path of a Chromium that is here. */
export function foundChromium() {
  return [process.env.CHROMIUM, ...usual].find((path) => path && existsSync(path))
}

/**
 * Environment in which Vulkan programs find SwiftShader, a Vulkan in software. Where the machine's own is wanted ($FORETOKEN_VULKAN=own),
 * and on systems with another way to the GPU, it is empty.
 */
export function vulkan() {
  if (process.platform !== 'linux' || process.env.FORETOKEN_VULKAN === 'own') return {}
  const driver = '/usr/lib/chromium/vk_swiftshader_icd.json'
  const loader = `/usr/lib/${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}-linux-gnu/libvulkan.so.1`
  for (const wanted of [driver, loader]) if (!existsSync(wanted)) install(wanted)
  return { VK_ICD_FILENAMES: driver, XDG_RUNTIME_DIR: dirname(driver) }
}

/** Debian's chromium and Vulkan's loader, which bring `wanted`; a lock lets one process of many install them. */
function install(wanted) {
  if (process.getuid?.() !== 0 || !existsSync('/usr/bin/apt-get'))
    throw new Error('no Chromium here: name one in $CHROMIUM, or install one (Debian: apt-get install chromium)')
  process.stderr.write('Installing chromium, for the tests of the page and of WebGPU (once) ...\n')
  const lock = join('/run', 'foretoken-chromium.lock')
  const script = `[ -e ${wanted} ] || { apt-get update -q && apt-get install -y -q --no-install-recommends chromium libvulkan1; }`
  // stdout is the caller's own.
  const { status } = spawnSync('flock', [lock, 'sh', '-c', script], { stdio: ['ignore', 2, 2] })
  if (status !== 0 || !existsSync(wanted)) throw new Error(`apt-get install chromium left no ${wanted}`)
  return wanted
}
