/** Finds a Chromium for the page's tests, and Debian's software Vulkan for those of WebGPU. */
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'

const usual = [
  '/usr/bin/chromium',
  '/usr/bin/google-chrome',
  '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
  '/Applications/Chromium.app/Contents/MacOS/Chromium',
]

/** Returns the path of a Chromium, installing Debian's if there is none. Throws if it cannot. */
export function chromium() {
  return foundChromium() ?? install(usual[0])
}

/** Returns the path of an installed Chromium, from $CHROMIUM or a usual place, or undefined. */
export function foundChromium() {
  return [process.env.CHROMIUM, ...usual].find((path) => path && existsSync(path))
}

/**
 * Returns an environment in which Vulkan programs find SwiftShader, a software Vulkan. It is empty
 * with FORETOKEN_VULKAN=own, which selects the machine's own Vulkan, and on systems other than
 * Linux.
 */
export function vulkan() {
  if (process.platform !== 'linux' || process.env.FORETOKEN_VULKAN === 'own') return {}
  const driver = '/usr/lib/chromium/vk_swiftshader_icd.json'
  const loader = `/usr/lib/${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}-linux-gnu/libvulkan.so.1`
  for (const wanted of [driver, loader]) if (!existsSync(wanted)) install(wanted)
  return { VK_ICD_FILENAMES: driver, XDG_RUNTIME_DIR: dirname(driver) }
}

/**
 * Installs Debian's chromium and Vulkan loader, which contain `wanted`, in one process at a time.
 */
function install(wanted) {
  if (process.getuid?.() !== 0 || !existsSync('/usr/bin/apt-get'))
    throw new Error('no Chromium found: set $CHROMIUM to one, or install one (Debian: apt-get install chromium)')
  process.stderr.write('Installing chromium, for the tests of the page and of WebGPU (once) ...\n')
  const lock = join('/run', 'foretoken-chromium.lock')
  const script = `[ -e ${wanted} ] || { apt-get update -q && apt-get install -y -q --no-install-recommends chromium libvulkan1; }`
  // Stdout is reserved for the caller.
  const { status } = spawnSync('flock', [lock, 'sh', '-c', script], { stdio: ['ignore', 2, 2] })
  if (status !== 0 || !existsSync(wanted)) throw new Error(`apt-get install chromium did not install ${wanted}`)
  return wanted
}
